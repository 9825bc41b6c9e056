"""Commands to an aggregate that may not exist yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from domain.model import Aggregate, Command, Context, Recordable

S = TypeVar("S", bound=Aggregate)


class Recording(Command[S]):
    """A command that records something of an aggregate, and begins its stream where it does not exist."""

    def decide(self, state: S | None, context: Context) -> Iterator[Recordable]:
        """Yield the events that the command leads to; without a state they begin the stream."""
        raise NotImplementedError

    def outcome(self, state: S | None, context: Context) -> list[Recordable]:
        return list(self.decide(state, context))
