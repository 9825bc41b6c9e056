"""A limit to the connections that the work of many logs of one process holds at once. Work that is idle holds none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple

from psycopg import AsyncConnection

POLL_INTERVAL = 3_600.0
"""Seconds after which work is looked for although nothing woke it, of one log among many."""
CLOCK_INTERVAL = 30.0
"""Seconds between two looks at the clock while it waits until something is due."""
SHORTEST_WAIT = 5.0
"""Seconds that it waits at least without its connection."""


SPREAD = Random()  # noqa: S311 - no secret


def poll_interval() -> float:
    """`POLL_INTERVAL`, or down to half of it: logs whose work began together are not looked at together again."""
    return POLL_INTERVAL * SPREAD.uniform(0.5, 1.0)


class ConnectionSlots(NamedTuple):
    """How many kinds of work, of all logs together, may hold a connection at once: work that follows logs for views,
    work that takes moments, and work that takes long.
    """

    views: asyncio.Semaphore
    quick: asyncio.Semaphore
    slow: asyncio.Semaphore

    @classmethod
    def of(cls, number: int) -> ConnectionSlots:
        """So many for quick work, as many for views, and a quarter as many for slow work."""
        quick = max(2, number)
        return cls(*(asyncio.Semaphore(most) for most in (quick, quick, max(1, number // 4))))


class ReleasableConnection:
    """A connection that holds the lock of some work. It is closed while the work is idle, and opened again after."""

    def __init__(
        self, connect: Callable[[], Awaitable[AsyncConnection]], slot: asyncio.Semaphore
    ) -> None:
        self._connect = connect
        self._slot = slot
        self._connection: AsyncConnection | None = None

    def __getattr__(self, name: str) -> Any:
        if self._connection is None:
            raise AttributeError(f"no connection while the work is idle: {name}")
        return getattr(self._connection, name)

    async def acquire(self) -> None:
        """Wait for a slot, and connect.

        Raises:
            psycopg.Error: the database is away.
        """
        await self._slot.acquire()
        try:
            self._connection = await self._connect()
        except BaseException:
            self._slot.release()
            raise

    async def release(self) -> None:
        """Close the connection, and free the slot."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            finally:
                self._slot.release()
