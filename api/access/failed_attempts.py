"""Limits failed attempts to authenticate from one address (a token bucket): beyond the limit 429, with Retry-After."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from math import ceil
from time import monotonic

from api.problems.problems import TooManyAttempts, Unauthenticated
from domain.lru import LruCache

MOST_ADDRESSES = 10_000
"""Addresses that are remembered; who was heard of last longest ago is forgotten."""
MINUTE = 60.0
OF_A_SITE = 64
"""Bits of an IPv6 address that say whose it is: one holder has all of the rest."""


class FailedAttempts:
    """Counts failed attempts by address. `a_minute` are had at once, and come back within a minute. So many may be
    under way, and not one more: as long as the outcome of these is not known, the others of the address wait.
    """

    def __init__(self, a_minute: int, steady: Callable[[], float] = monotonic) -> None:
        self._a_minute = a_minute
        self._steady = steady
        self._spent: LruCache[str, tuple[float, float]] = LruCache(MOST_ADDRESSES)
        self._under_way: Counter[str] = Counter()
        self._waiting: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)

    @asynccontextmanager
    async def one_of(self, address: str) -> AsyncIterator[None]:
        """While the block lasts an attempt of an address is under way; it has failed where it raises Unauthenticated.

        Raises:
            TooManyAttempts: the address has none left.
        """
        site = _site(address)
        await self._begin(site)
        try:
            yield
        except Unauthenticated:
            self._fail(site)
            raise
        finally:
            self._under_way[site] -= 1
            self._wake(site)

    async def _begin(self, site: str) -> None:
        while self._require(site) + self._under_way[site] > self._a_minute - 1:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[site].append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake(site)
                raise
        self._under_way[site] += 1

    def _require(self, site: str) -> float:
        spent = self._now(site)
        if spent > self._a_minute - 1:
            seconds = ceil((spent - self._a_minute + 1) * MINUTE / self._a_minute)
            raise TooManyAttempts(retryAfter=seconds)
        return spent

    def _wake(self, site: str) -> None:
        """Let one of those who wait look again; all of them where there is nothing to wait for."""
        waiting = [turn for turn in self._waiting.pop(site, ()) if not turn.done()]
        alone = not self._under_way[site]
        for turn in waiting if alone else waiting[:1]:
            turn.set_result(None)
        if waiting[1:] and not alone:
            self._waiting[site] = waiting[1:]
        if alone:
            del self._under_way[site]

    def _fail(self, site: str) -> None:
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
