"""Tables that commands print: ids in them stay whole, as they are copied into the next command."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

WIDEST = 10_000
"""Characters of a line that no terminal shows; a table is only as wide as what is in it."""


def whole_column(header: str) -> Column:
    """A column of ids or words: others give way to it, and what a terminal has no room for goes on in the
    next line.
    """
    return Column(header, no_wrap=True, overflow="fold")


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal; elsewhere, as in a pipe, nothing in it is cut. One without rows says nothing."""
    if not table.row_count:
        return
    console = plain_console()
    (console if console.is_terminal else plain_console(width=WIDEST)).print(table)


def plain_console(width: int | None = None) -> Console:
    """A console that shows each text as it is: `[b]` in a name is no markup, and `:bug:` in an id no picture."""
    return Console(width=width, markup=False, emoji=False, highlight=False)
