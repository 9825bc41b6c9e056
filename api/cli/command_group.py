"""Groups of commands: their help shows what each command does, and some commands are imported when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

MOST_SHOWN = 500
"""The most characters of a command's first sentence."""


class CommandGroup(click.Group):
    """A group whose help shows the whole first sentence of each command, which Click cuts to one line, and which names the
    commands that are like a misspelled one.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the name and the command of the first argument, and the other arguments; raises click.UsageError."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            similar = get_close_matches(args[0], self.list_commands(ctx))
            if similar:
                ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(similar)}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names of all commands, each with the first sentence of its help."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [(name, each.get_short_help_str(MOST_SHOWN)) for name, each in found.items() if each]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class LazyGroup(CommandGroup):
    """A group in which some commands are given by module and name (`elsewhere`), so that a command does not import what
    only others need.
    """

    def __init__(self, *given: Any, elsewhere: Mapping[str, str], **named: Any) -> None:
        super().__init__(*given, **named)
        self._elsewhere = elsewhere

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The sorted names of all commands."""
        return sorted((*self.commands, *self._elsewhere))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command with a name; None where there is none."""
        if cmd_name in self._elsewhere:
            module, _, name = self._elsewhere[cmd_name].partition(":")
            command: click.Command = getattr(import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)
