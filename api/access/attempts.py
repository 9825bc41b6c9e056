"""Attempts to come in that fail: each address has a few, which come back with time."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from math import ceil
from time import monotonic

from api.problems.problems import TooManyAttempts
from domain.lru import LruCache

MOST_ADDRESSES = 10_000
"""Addresses that are remembered; who was heard of last longest ago is forgotten."""
MINUTE = 60.0
OF_A_SITE = 64
"""Bits of an IPv6 address that say whose it is: one holder has all of the rest."""


class FailedAttempts:
    """Counts failed attempts by address. `a_minute` are had at once, and come back within a minute."""

    def __init__(self, a_minute: int, steady: Callable[[], float] = monotonic) -> None:
        self._a_minute = a_minute
        self._steady = steady
        self._spent: LruCache[str, tuple[float, float]] = LruCache(MOST_ADDRESSES)

    def require(self, address: str) -> None:
        """Raises TooManyAttempts where an address has none left."""
        spent = self._now(_site(address))
        if spent > self._a_minute - 1:
            seconds = ceil((spent - self._a_minute + 1) * MINUTE / self._a_minute)
            raise TooManyAttempts(retryAfter=seconds)

    def failed(self, address: str) -> None:
        """An attempt has failed."""
        site = _site(address)
        self._spent.put(site, (self._now(site) + 1, self._steady()))
        self._spent.trim()

    def _now(self, site: str) -> float:
        spent, at = self._spent.peek(site) or (0.0, 0.0)
        return max(0.0, spent - (self._steady() - at) * self._a_minute / MINUTE)


def _site(address: str) -> str:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(int(parsed) >> (128 - OF_A_SITE))
    return str(parsed)
