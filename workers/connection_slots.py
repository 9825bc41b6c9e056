"""Limits how many connections the work of all logs of a process has open. Idle work has no connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple

from psycopg import AsyncConnection

POLL_INTERVAL = 3_600.0
"""Seconds between two polls for the work of one of many logs, unless something wakes the work."""
CLOCK_INTERVAL = 30.0
"""Seconds between two checks of the clock while work waits until something is due."""
SHORTEST_WAIT = 5.0
"""Seconds that work waits at least once its connection is closed."""
TRY_AGAIN = 15.0
"""Seconds between two tries to become the owner of work that another process owns; meanwhile the slot is free."""

SPREAD = Random()  # noqa: S311 - no secret


def poll_interval() -> float:
    """A random time between half of `POLL_INTERVAL` and all of it, so that logs are not polled at the same time."""
    return POLL_INTERVAL * SPREAD.uniform(0.5, 1.0)


class ConnectionSlots(NamedTuple):
    """Slots for the connections of the work of all logs: for followers of views, for work that is quick, for slow work, and for
    work that waits for the answers of others, such as receivers of webhooks.
    """

    views: asyncio.Semaphore
    quick: asyncio.Semaphore
    slow: asyncio.Semaphore
    calling: asyncio.Semaphore

    @classmethod
    def of(cls, number: int) -> ConnectionSlots:
        """Slots for a number of connections of quick work, as many of views, a quarter as many of slow work, and half as many
        of work that calls others.
        """
        quick = max(2, number)
        numbers = (quick, quick, max(1, number // 4), max(1, number // 2))
        return cls(*(asyncio.Semaphore(most) for most in numbers))


class ReleasableConnection:
    """A connection that holds the lock of some work. It is closed while the work is idle, and opened again afterwards."""

    def __init__(
        self, connect: Callable[[], Awaitable[AsyncConnection | None]], slot: asyncio.Semaphore
    ) -> None:
        self._connect = connect
        self._slot = slot
        self._connection: AsyncConnection | None = None

    def __getattr__(self, name: str) -> Any:
        if self._connection is None:
            raise AttributeError(f"no connection while the work is idle: {name}")
        return getattr(self._connection, name)

    async def acquire(self) -> None:
        """Wait for a slot, connect, and get the lock; try again later where another process has it.

        Raises:
            psycopg.Error: the database is unavailable.
        """
        while True:
            await self._slot.acquire()
            try:
                self._connection = await self._connect()
            finally:
                if self._connection is None:
                    self._slot.release()
            if self._connection is not None:
                return
            await asyncio.sleep(TRY_AGAIN)

    async def release(self) -> None:
        """Close the connection, and free the slot."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            finally:
                self._slot.release()
