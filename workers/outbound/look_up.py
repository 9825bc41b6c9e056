"""Looks up the addresses of hosts, in a bounded number of threads.

A look-up cannot be broken off: it has its thread until the resolver answers. So those who ask for one host at the same time
share a look-up, and hosts that were slow the last time share a few of the threads, so that they keep no other waiting.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from threading import Lock, Thread
from time import monotonic

from domain.lru import LruCache

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""A function that returns the addresses of a host and port, as texts. Raises OSError where there are none."""
Host = tuple[str, int]
MOST = 96
"""Threads, each of which looks up one host."""
OF_SLOW = 16
"""Threads for hosts that were slow the last time."""
SLOW = 2.0
"""Seconds from which on a look-up was slow."""
REMEMBERED = 10_000


@dataclass(eq=False)
class _LookUp:
    """One look-up, and the event loops and futures of the callers that wait for it."""

    host: Host
    slow: bool
    waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Sequence[str]]]] = field(
        default_factory=list
    )

    @property
    def wanted(self) -> bool:
        """Whether a caller still waits for it."""
        return not all(found.done() for _, found in self.waiting)


class LookUps:
    """All look-ups of a process, in a bounded number of threads. The others wait, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[Host, _LookUp] = {}
        self._queue: list[_LookUp] = []
        self._running: set[_LookUp] = set()
        self._slow: LruCache[Host, bool] = LruCache(REMEMBERED)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host. Its thread is a daemon, as a look-up cannot be cancelled, so it does not delay the end
        of the program.
        """
        if "%" not in host:
            with suppress(ValueError):
                return [str(ip_address(host))]
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[str]] = loop.create_future()
        with self._lock:
            look_up = self._known.get((host, port))
            if look_up is None:
                slow = self._slow.get((host, port)) is not None
                look_up = self._known[host, port] = _LookUp((host, port), slow)
                self._queue.append(look_up)
            look_up.waiting.append((loop, found))
            self._begin()
        return await found

    def _begin(self) -> None:
        """Start queued look-ups as far as there are threads, and drop those without a caller. The lock must be held."""
        for look_up in list(self._queue):
            if not look_up.wanted:
                self._queue.remove(look_up)
                del self._known[look_up.host]
            elif self._has_room(look_up):
                self._queue.remove(look_up)
                self._running.add(look_up)
                name = f"look up {look_up.host[0]}"
                Thread(target=self._work, args=(look_up,), name=name, daemon=True).start()

    def _has_room(self, look_up: _LookUp) -> bool:
        slow = sum(each.slow for each in self._running)
        return len(self._running) < MOST and (not look_up.slow or slow < OF_SLOW)

    def _work(self, look_up: _LookUp) -> None:
        began = monotonic()
        addresses: Sequence[str] = ()
        failed: Exception | None = None
        try:
            infos = socket.getaddrinfo(*look_up.host, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, UnicodeError) as error:
            failed = error
        with self._lock:
            self._end(look_up, slow=monotonic() - began >= SLOW)
        for loop, found in look_up.waiting:
            with suppress(RuntimeError):  # the loop is closed by now
                loop.call_soon_threadsafe(_answer, found, addresses, failed)

    def _end(self, look_up: _LookUp, *, slow: bool) -> None:
        """Remove a look-up that has ended, and start the next one. The lock must be held."""
        self._running.remove(look_up)
        del self._known[look_up.host]
        if slow:
            self._slow.put(look_up.host, True)
            self._slow.trim()
        else:
            self._slow.pop(look_up.host)
        self._begin()


def _answer(
    found: asyncio.Future[Sequence[str]], addresses: Sequence[str], failed: Exception | None
) -> None:
    if found.done():  # nobody waits for it any more
        return
    if failed is None:
        found.set_result(addresses)
    else:
        found.set_exception(failed)


look_up: Resolve = LookUps()
