"""The page of limits names constants that exist, in the files that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

CELL = re.compile(r"((?:`\w+`(?:, | and |, set in)?\s*)+) in `([\w/]+\.py)`")


def named_constants() -> Iterator[tuple[str, str]]:
    for line in (ROOT / "docs" / "limits.md").read_text().splitlines():
        for names, file in CELL.findall(line.rpartition(" | ")[2]):
            for name in re.findall(r"`(\w+)`", names):
                yield file, name


def test_every_row_of_limits_names_a_constant() -> None:
    page = (ROOT / "docs" / "limits.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "| where |" not in line]
    assert [row for row in rows if not CELL.search(row.rpartition(" | ")[2])] == []
    assert len(rows) > 30


@pytest.mark.parametrize(("file", "name"), sorted(set(named_constants())))
def test_limit_is_defined_in_the_file_that_the_page_names(file: str, name: str) -> None:
    definition = re.compile(rf"^(?:    )?(?:def )?{name}\b", re.MULTILINE)
    assert definition.search((ROOT / file).read_text()), f"{name} is not defined in {file}"
