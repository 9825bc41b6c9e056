"""Limits failed attempts to authenticate from one address (token bucket): beyond the limit 429, with Retry-After."""

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
"""Addresses whose failures are cached; the least recently used is dropped first."""
MINUTE = 60.0
OF_A_SITE = 64
"""Bits of an IPv6 address that are counted as one address: a site has all addresses with the same prefix."""


class FailedAttempts:
    """Counts failed attempts by address: at most `a_minute` at once, which are available again after a minute.

    Attempts that are running count as failed until their outcome is known: further attempts of the address wait.
    """

    def __init__(self, a_minute: int, steady: Callable[[], float] = monotonic) -> None:
        self._a_minute = a_minute
        self._steady = steady
        self._spent: LruCache[str, tuple[float, float]] = LruCache(MOST_ADDRESSES)
        self._running: Counter[str] = Counter()
        self._waiting: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)

    @asynccontextmanager
    async def one_of(self, address: str) -> AsyncIterator[None]:
        """Run an attempt of an address in the block; the attempt has failed if the block raises Unauthenticated.

        Raises:
            TooManyAttempts: the address has no attempts left.
        """
        site = _site(address)
        await self._begin(site)
        try:
            yield
        except Unauthenticated:
            self._fail(site)
            raise
        finally:
            self._running[site] -= 1
            self._wake(site)

    async def _begin(self, site: str) -> None:
        while self._require_left(site) + self._running[site] > self._a_minute - 1:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[site].append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake(site)
                raise
        self._running[site] += 1

    def _require_left(self, site: str) -> float:
        spent = self._spent_now(site)
        if spent > self._a_minute - 1:
            seconds = ceil((spent - self._a_minute + 1) * MINUTE / self._a_minute)
            raise TooManyAttempts(retryAfter=seconds)
        return spent

    def _wake(self, site: str) -> None:
        """Wake one waiting attempt of an address, or all of them where no attempt is running."""
        waiting = [turn for turn in self._waiting.pop(site, ()) if not turn.done()]
        none_running = not self._running[site]
        for turn in waiting if none_running else waiting[:1]:
            turn.set_result(None)
        if waiting[1:] and not none_running:
            self._waiting[site] = waiting[1:]
        if none_running:
            del self._running[site]

    def _fail(self, site: str) -> None:
        self._spent.put(site, (self._spent_now(site) + 1, self._steady()))
        self._spent.trim()

    def _spent_now(self, site: str) -> float:
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
