"""Prints tables. Ids in them stay whole, as they are copied into further commands."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

WIDEST = 10_000
"""Characters of a line outside of a terminal; a table is only as wide as its content."""


def whole_column(header: str) -> Column:
    """A column of ids or words, which is not narrowed for other columns; text that is too long for the terminal is
    continued in the next line.
    """
    return Column(header, no_wrap=True, overflow="fold")


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal; elsewhere, as in a pipe, nothing is cut. A table without rows is not printed."""
    if not table.row_count:
        return
    console = plain_console()
    (console if console.is_terminal else plain_console(width=WIDEST)).print(table)


def plain_console(width: int | None = None) -> Console:
    """A console that shows each text as it is: `[b]` in a name is no markup, and `:bug:` in an id no picture."""
    return Console(width=width, markup=False, emoji=False, highlight=False)
