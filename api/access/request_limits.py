"""Limits the requests of a caller in a second, where a limit is set: beyond it 429, with Retry-After."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from api.problems.problems import TooManyRequests
from domain.lru import LruCache

MOST_CALLERS = 10_000
"""Callers whose requests are counted; the least recently used is dropped first."""


class RequestLimits:
    """Counts requests by the caller's name: at most `a_second` at once, which are available again after a second
    (token bucket). None is no limit.
    """

    def __init__(self, a_second: int | None, steady: Callable[[], float] = monotonic) -> None:
        self._a_second = a_second
        self._steady = steady
        self._spent: LruCache[str, tuple[float, float]] = LruCache(MOST_CALLERS)

    def take(self, caller: str) -> bool:
        """Count a request, unless the caller is at its limit. Return whether it was counted."""
        if self._a_second is None:
            return True
        now = self._steady()
        spent, at = self._spent.get(caller) or (0.0, now)
        spent = max(0.0, spent - (now - at) * self._a_second)
        if spent > self._a_second - 1:
            return False
        self._spent.put(caller, (spent + 1, now))
        self._spent.trim()
        return True

    def require(self, caller: str) -> None:
        """Count a request. Raises TooManyRequests where the caller is at its limit."""
        if not self.take(caller):
            raise TooManyRequests(retryAfter=1)
