"""A group of commands that are imported when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group some of whose commands are elsewhere: each is named by its module and its name there. So a command does
    not wait for what only others import.
    """

    def __init__(self, *given: Any, elsewhere: Mapping[str, str], **named: Any) -> None:
        super().__init__(*given, **named)
        self._elsewhere = elsewhere

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in order."""
        return sorted((*self.commands, *self._elsewhere))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name, imported by now; None where there is none."""
        if cmd_name in self._elsewhere:
            module, _, name = self._elsewhere[cmd_name].partition(":")
            command: click.Command = getattr(import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)
