"""A bounded cache: it drops what was not used for longest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Maps keys to values, up to a capacity.

    `weigh` says how much of the capacity a value takes; by default each takes one. Nothing is
    dropped before `trim` is called, so that whoever puts several values can still read them all.
    """

    def __init__(self, capacity: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._values: OrderedDict[K, V] = OrderedDict()
        self._weight = 0

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value of a key, which counts as used now; None where there is none."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Add a value, or replace the one of its key."""
        self.pop(key)
        self._values[key] = value
        self._weight += self._weigh(value)

    def pop(self, key: K) -> V | None:
        """Remove a key; answers its value, None where there was none."""
        value = self._values.pop(key, None)
        if value is not None:
            self._weight -= self._weigh(value)
        return value

    def trim(self) -> list[K]:
        """Drop what exceeds the capacity, and answer which keys. The newest value always stays."""
        dropped = []
        while self._weight > self._capacity and len(self._values) > 1:
            key, value = self._values.popitem(last=False)
            self._weight -= self._weigh(value)
            dropped.append(key)
        return dropped

    def clear(self) -> None:
        """Drop everything."""
        self._values.clear()
        self._weight = 0
