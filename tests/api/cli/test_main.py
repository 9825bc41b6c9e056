"""The entry point `executions`: its imports and its help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from api.cli.main import main
from tests.support.paths import ROOT

LOADED = "import sys, api.cli.main; print(*{name.split('.')[0] for name in sys.modules})"


def test_client_commands_import_no_part_of_the_service() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "api" in loaded
    assert not {"domain", "projections", "workers", "psycopg"}.intersection(loaded)


def helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """The help of a command and of all its subcommands."""
    context = click.Context(command, info_name=name)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from helps(found, f"{name} {below}")


def test_help_of_a_group_shows_whole_sentences() -> None:
    shown = {name: text.partition("\n")[2] for name, text in helps(main, "executions")}
    assert [name for name, text in shown.items() if "..." in text] == []


def test_help_of_every_command_shows_no_layout_marks() -> None:
    shown = dict(helps(main, "executions"))
    assert len(shown) > 30
    assert [name for name, text in shown.items() if "\\b" in text or "\b" in text] == []


@pytest.mark.parametrize(
    ("given", "named"),
    [("improt xes", "Did you mean import?"), ("keys lst", "Did you mean list?"), ("zzz", "'zzz'.")],
)
def test_misspelled_command_is_refused_with_similar_ones(given: str, named: str) -> None:
    refused = CliRunner().invoke(main, given.split())
    assert refused.exit_code == 2
    assert "No such command" in refused.output
    assert named in refused.output
