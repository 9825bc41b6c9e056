"""A bounded cache: it drops what was not used for longest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Maps keys to values, up to a capacity.

    `weigh` says how much of the capacity a value takes when it is put; by default each takes one.
    Nothing is dropped before `trim` is called, so that a caller that puts several values can still read
    them all. The newest `spared` values are never dropped.
    """

    def __init__(
        self, capacity: int, weigh: Callable[[V], int] = lambda _: 1, *, spared: int = 1
    ) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._spared = spared
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value of a key, which counts as used now; None where there is none."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def peek(self, key: K) -> V | None:
        """The value of a key, which does not count as used."""
        found = self._values.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V) -> None:
        """Add a value, or replace the one of its key."""
        self.pop(key)
        weight = self._weigh(value)
        self._values[key] = value, weight
        self._weight += weight

    def replace(self, key: K, value: V) -> None:
        """Have another value, of the same weight, for a key that is there. It does not count as used."""
        self._values[key] = value, self._values[key][1]

    def pop(self, key: K) -> V | None:
        """Remove a key; answers its value, None where there was none."""
        found = self._values.pop(key, None)
        if found is None:
            return None
        value, weight = found
        self._weight -= weight
        return value

    def remove(self, condition: Callable[[V], bool]) -> None:
        """Remove all whose value meets a condition."""
        for key in [key for key, (value, _) in self._values.items() if condition(value)]:
            self.pop(key)

    def trim(self) -> list[K]:
        """Drop what exceeds the capacity, and answer which keys."""
        dropped = []
        while self._weight > self._capacity and len(self._values) > self._spared:
            key, (_, weight) = self._values.popitem(last=False)
            self._weight -= weight
            dropped.append(key)
        return dropped

    def clear(self) -> None:
        """Drop everything."""
        self._values.clear()
        self._weight = 0
