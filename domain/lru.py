"""The states at hand: a bounded memory of the streams that were used last."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from domain.model import Held

CAPACITY = 16_384
LARGE = 64 * 1024


class States:
    """Forgets the streams not used for longest. Its measure is what they hold, not their number: an
    execution with a thousand steps takes the room of a thousand others.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._held: OrderedDict[str, Held[Any]] = OrderedDict()
        self._weight = 0

    def __contains__(self, stream: object) -> bool:
        return stream in self._held

    def get(self, stream: str) -> Held[Any] | None:
        """The state of a stream, if it is at hand."""
        return self._held.get(stream)

    def keep(self, stream: str, held: Held[Any]) -> None:
        """Remember a state, in place of an older one of its stream."""
        before = self._held.pop(stream, None)
        if before is not None:
            self._weight -= _weight(before)
        self._held[stream] = held
        self._weight += _weight(held)

    def trim(self) -> list[str]:
        """Forget what is too much, and say which streams."""
        gone = []
        while self._weight > self._capacity and len(self._held) > 1:
            stream, held = self._held.popitem(last=False)
            self._weight -= _weight(held)
            gone.append(stream)
        return gone

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._weight = 0


def _weight(held: Held[Any]) -> int:
    """Its parts, and what large content adds. What small events add up to before a snapshot is no
    memory: of a thousand times progress one is kept.
    """
    parts: int = held.state.weight
    return parts + held.size // LARGE
