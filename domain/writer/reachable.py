"""The states that a command may read, as far as its sender reaches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from domain.model import Versioned

OWNED = ("execution/", "order/")
"""The kinds that belong to a customer and a provider alone. Services, workflows and users are for all to name."""


class ReachableStates(Mapping[str, Versioned[Any] | None]):
    """States in which an execution or an order that the sender does not reach is as if it were not there."""

    def __init__(
        self,
        states: Mapping[str, Versioned[Any] | None],
        permits: Callable[[Versioned[Any]], bool],
    ) -> None:
        self._states = states
        self._permits = permits

    def __getitem__(self, stream: str) -> Versioned[Any] | None:
        versioned = self._states[stream]
        if versioned is None or not stream.startswith(OWNED) or self._permits(versioned):
            return versioned
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)
