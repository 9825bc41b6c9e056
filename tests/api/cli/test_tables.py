"""Tables that commands print."""

from __future__ import annotations

import pytest
from rich.table import Table

from api.cli.tables import print_table


@pytest.mark.parametrize("text", ["import:bug:1", "[bold]Taste", "[/x]"])
def test_text_in_a_table_is_shown_unchanged(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("execution")
    table.add_row(text)
    print_table(table)
    assert text in capsys.readouterr().out
