"""One process at a time does all work of a log among many: the one whose connection holds the advisory lock of that
log. One connection has the locks of all logs of a database, and no other is needed while they rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from psycopg import AsyncConnection

from domain.eventlog.connection.notifications import Wake
from domain.eventlog.connection.shared_listener import NO_SCHEMA
from domain.eventlog.connection.timeouts import OUTAGES, is_closed_by_server
from domain.eventlog.sessions import KEEPALIVE
from domain.supervisor import Background, Tasks

WATCH = 1.0
"""Seconds between two looks whether the connection is there, and at the locks that another process has."""
OWN = """SELECT schema FROM unnest(%s::text[]) AS schema
    WHERE pg_try_advisory_lock(hashtext('all work of ' || schema), hashtext('all work'))"""
LEAVE = """SELECT pg_advisory_unlock(hashtext('all work of ' || schema), hashtext('all work'))
    FROM unnest(%s::text[]) AS schema"""

log = structlog.get_logger()


class LogOwnership(Background):
    """Holds the locks of the logs that this process works for, in one database."""

    outages = OUTAGES

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._wanted: dict[str, asyncio.Future[None]] = {}
        self._owned: dict[str, Callable[[], object]] = {}
        self._left: set[str] = set()
        self._news = Wake()

    def tasks(self) -> Tasks:
        return {"logs owned": self._run}

    @asynccontextmanager
    async def of(self, schema: str, on_lost: Callable[[], object]) -> AsyncIterator[None]:
        """Wait to own a log, and own it while the block runs; `on_lost` is called where the lock is lost before."""
        own = self._wanted[schema] = asyncio.get_running_loop().create_future()
        self._news.set()
        try:
            await own
            self._owned[schema] = on_lost
            yield
        finally:
            self._wanted.pop(schema, None)
            if self._owned.pop(schema, None) is not None or own.done():
                self._left.add(schema)
                self._news.set()

    async def _run(self) -> None:
        options = f"{NO_SCHEMA} {KEEPALIVE} -c statement_timeout=5s"
        try:
            async with await AsyncConnection.connect(
                self._conninfo, autocommit=True, connect_timeout=3, options=options
            ) as connection:
                while not is_closed_by_server(connection):
                    await self._settle(connection)
                    await self._news.wait(WATCH)
        finally:
            self._left.clear()
            for on_lost in list(self._owned.values()):
                on_lost()

    async def _settle(self, connection: AsyncConnection) -> None:
        """Leave what is not needed any more, and try what is wanted."""
        if self._left:
            left, self._left = self._left, set()
            await connection.execute(LEAVE, (list(left),))
        if not (wanted := [name for name, own in self._wanted.items() if not own.done()]):
            return
        cursor = await connection.execute(OWN, (wanted,))
        for (schema,) in await cursor.fetchall():
            if (own := self._wanted.get(schema)) is not None and not own.done():
                own.set_result(None)
            else:
                self._left.add(schema)  # nobody waits for it any more
