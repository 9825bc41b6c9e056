"""Commands on an aggregate that may not exist yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from domain.model import Aggregate, Command, Context, Recordable

S = TypeVar("S", bound=Aggregate)


class Recording(Command[S]):
    """A command that records something of an aggregate, and begins it where there is none."""

    def decide(self, state: S | None, context: Context) -> Iterator[Recordable]:
        """The events that follow; without a state they are the first of the stream."""
        raise NotImplementedError

    def outcome(self, state: S | None, context: Context) -> list[Recordable]:
        return list(self.decide(state, context))
