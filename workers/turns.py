"""How the work of many logs of one process takes turns: what rests has no connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from psycopg import AsyncConnection

LOOK = 600.0
"""Seconds after which work is looked for although nothing woke it, of one log among many."""
WATCH = 30.0
"""Seconds between two looks at the clock while it rests."""
CHECKS = 60.0
"""Seconds between two looks at the head and at the master key of such a log."""
LEAST = 5.0
"""Seconds that it rests at least without its connection."""


class Turns(NamedTuple):
    """How many kinds of work, of all logs together, may have a connection at once: those that follow logs for their
    views, those that take moments, and those that take long.
    """

    views: asyncio.Semaphore
    quick: asyncio.Semaphore
    slow: asyncio.Semaphore

    @classmethod
    def of(cls, number: int) -> Turns:
        """So many that are quick, and a quarter as many that are slow."""
        quick = max(2, number)
        return cls(*(asyncio.Semaphore(most) for most in (quick, quick, max(1, number // 4))))


class LentConnection:
    """Stands for the connection that holds the lock of some work, which is closed while that rests."""

    def __init__(
        self, connect: Callable[[], Awaitable[AsyncConnection]], turn: asyncio.Semaphore
    ) -> None:
        self._connect = connect
        self._turn = turn
        self._connection: AsyncConnection | None = None

    def __getattr__(self, name: str) -> Any:
        if self._connection is None:
            raise AttributeError(f"no connection while it rests: {name}")
        return getattr(self._connection, name)

    async def take(self) -> None:
        """Wait for a turn, and connect.

        Raises:
            psycopg.Error: the database is away.
        """
        await self._turn.acquire()
        try:
            self._connection = await self._connect()
        except BaseException:
            self._turn.release()
            raise

    async def give(self) -> None:
        """Close the connection, and let others have a turn."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            finally:
                self._turn.release()
