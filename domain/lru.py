"""A bounded cache that drops the values that were used least recently."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Maps keys to values, up to a capacity.

    `weigh` returns how much of the capacity a value takes when it is put; by default each takes 1. Values are dropped only
    by `trim`, so that a caller can still read all values that it has put. The newest `spared` values are never dropped.
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
        """The value of a key, or None. The key counts as used now."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def peek(self, key: K) -> V | None:
        """The value of a key, or None. The key does not count as used."""
        found = self._values.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V) -> None:
        """Add a value, or replace the value of its key."""
        self.pop(key)
        weight = self._weigh(value)
        self._values[key] = value, weight
        self._weight += weight

    def replace(self, key: K, value: V) -> None:
        """Replace the value of an existing key by one of the same weight. The key does not count as used."""
        self._values[key] = value, self._values[key][1]

    def pop(self, key: K) -> V | None:
        """Remove a key; return its value, or None."""
        found = self._values.pop(key, None)
        if found is None:
            return None
        value, weight = found
        self._weight -= weight
        return value

    def remove(self, condition: Callable[[V], bool]) -> None:
        """Remove all keys whose values meet a condition."""
        for key in [key for key, (value, _) in self._values.items() if condition(value)]:
            self.pop(key)

    def trim(self) -> list[K]:
        """Drop the values that exceed the capacity; return their keys."""
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
