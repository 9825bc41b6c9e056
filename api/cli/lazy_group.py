"""A group of commands that are imported when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
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
