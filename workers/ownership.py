"""One process at a time does a kind of work on a log: the one whose connection holds an advisory lock.

When it dies its connection is lost, and another that stands by takes over within seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from time import monotonic
from typing import ClassVar, cast

import structlog
from psycopg import AsyncConnection

from domain.errors import OutcomeUnknown, Overloaded
from domain.eventlog.connection.notifications import Wake
from domain.eventlog.connection.timeouts import OUTAGES, is_closed_by_server
from domain.eventlog.sessions import KEEPALIVE, session_options
from domain.supervisor import Background, Tasks
from workers import connection_slots
from workers.connection_slots import ConnectionSlots, ReleasableConnection

TAKE_OVER = 1.0
"""Seconds between two tries to become the owner."""
POLL_INTERVAL = 10.0
"""Seconds after which an owner looks for work although nothing woke it."""
CHECK_EVERY = 1.0
"""Seconds between two looks at the clock and the connection while it waits, which ask the database nothing."""
SHORT = 1.5
"""Seconds of a wait during which a connection is kept that others wait for."""
WORK = ("timers", "leases", "webhooks", "jobs", "audit", "erasures", "access")
"""The kinds of work that should have an owner at all times. Views have one each; the archive has one while lines
are archived.
"""
OWN = "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(%s))"

OWNED = """SELECT work FROM unnest(%s::text[]) AS work, CAST(%s AS text) AS schema WHERE EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint, objid::bigint) IN (
            (hashtext(work || ' of ' || schema)::bigint & 4294967295,
                hashtext(work)::bigint & 4294967295),
            (hashtext('all work of ' || schema)::bigint & 4294967295,
                hashtext('all work')::bigint & 4294967295)))"""
"""One kind of work has an owner, or all of a log among many has one, who does it."""


log = structlog.get_logger()


class OwnedWork(Background):
    """Does a kind of work for as long as this process owns it on a log.

    `follows` is the view from which it reads what there is to do: when that has moved, `wake` is set, and wakes
    it. Where nobody sets it, it looks by itself, now and then.
    """

    outages = (*OUTAGES, Overloaded, OutcomeUnknown)
    work: ClassVar[str]
    follows: ClassVar[str | None] = None

    slow: ClassVar[bool] = False
    """Whether it may hold its slot for long."""
    slots: ConnectionSlots | None = None
    """Limits the connections of the work of all logs; None where this work keeps its connection."""

    def __init__(self, conninfo: str, schema: str) -> None:
        self._conninfo = conninfo
        self._schema = schema
        self.wake = Wake()

    def tasks(self) -> Tasks:
        return {self.work: self._own_and_run}

    async def run(self, connection: AsyncConnection) -> None:
        """Work until cancelled, over the connection that holds the lock."""
        raise NotImplementedError

    async def wait_for_work(
        self,
        connection: AsyncConnection,
        seconds: float | None = None,
        due_in: Callable[[], float] = lambda: inf,
        *,
        needs: bool = True,
    ) -> None:
        """Return once something is due, `wake` is set, or the connection is lost; after so many seconds (`POLL_INTERVAL`) anyway.

        `due_in` says in how many seconds of the clock something is due. It is asked again and again, as a clock
        may leap, unless nothing is. With slots, the connection is closed meanwhile, unless the wait is short and the
        work `needs` it.
        """
        seconds = POLL_INTERVAL if seconds is None else seconds
        if isinstance(connection, ReleasableConnection) and not (
            needs and min(seconds, due_in()) < SHORT
        ):
            await connection.release()
            seconds = (
                connection_slots.poll_interval()
                if seconds >= POLL_INTERVAL
                else max(seconds, connection_slots.SHORTEST_WAIT)
            )
            check_every = connection_slots.CLOCK_INTERVAL if due_in() < inf else inf
            await self._wait(seconds, due_in, check_every)
            await connection.acquire()
            self.wake.clear()  # of what came while it waited for its turn
        else:
            await self._wait(seconds, due_in, CHECK_EVERY, connection)

    async def pause(self, connection: AsyncConnection, seconds: float) -> None:
        """Do nothing for so many seconds, whatever happens."""
        if isinstance(connection, ReleasableConnection):
            await connection.release()
            await asyncio.sleep(seconds)
            await connection.acquire()
        else:
            await asyncio.sleep(seconds)

    async def _wait(
        self,
        seconds: float,
        due_in: Callable[[], float],
        check_every: float,
        connection: AsyncConnection | None = None,
    ) -> None:
        end = monotonic() + seconds
        while (left := min(end - monotonic(), due_in())) > 0:
            happened = await self.wake.wait(min(left, check_every))
            if happened or (connection is not None and is_closed_by_server(connection)):
                return

    async def _own_and_run(self) -> None:
        slot = self.slots and (self.slots.slow if self.slow else self.slots.quick)
        async with ownership(self._conninfo, self._schema, self.work, slot) as connection:
            say = log.info if slot is None else log.debug
            say("this process is the owner", work=self.work)
            self.wake.clear()  # of what came before its first look
            await self.run(connection)


@asynccontextmanager
async def ownership(
    conninfo: str, schema: str, work: str, slot: asyncio.Semaphore | None = None
) -> AsyncIterator[AsyncConnection]:
    """Wait to become the owner of some work on a log; the connection that holds its lock. With a `slot`, for which it
    waits, too, the connection may be closed while the work is idle.
    """
    owned = partial(_connect_and_own, conninfo, schema, work)
    if slot is None:
        async with await owned() as connection:
            yield connection
        return
    releasable = ReleasableConnection(owned, slot)
    await releasable.acquire()
    try:
        yield cast(AsyncConnection, releasable)
    finally:
        await releasable.release()


async def _connect_and_own(conninfo: str, schema: str, work: str) -> AsyncConnection:
    """A connection that has the lock."""
    options = f"{session_options(schema)} -c statement_timeout=5s {KEEPALIVE}"
    connection = await AsyncConnection.connect(conninfo, autocommit=True, options=options)
    try:
        while not await _own(connection, f"{work} of {schema}", work):  # noqa: ASYNC110 - no signal for it
            await asyncio.sleep(TAKE_OVER)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _own(connection: AsyncConnection, *names: str) -> bool:
    cursor = await connection.execute(OWN, names)
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def without_owner(connection: AsyncConnection, schema: str) -> list[str]:
    """The kinds of work on a log that no process does now."""
    cursor = await connection.execute(OWNED, (list(WORK), schema))
    owned = {row[0] for row in await cursor.fetchall()}
    return [work for work in WORK if work not in owned]
