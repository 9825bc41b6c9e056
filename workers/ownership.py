"""The ownership of a kind of work on a log: one process at a time does it, the one whose connection holds an advisory lock.

When the process dies, its connection is lost, and another process gets the lock within seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from time import monotonic
from typing import ClassVar, Literal, cast

import structlog
from psycopg import AsyncConnection

from domain.errors import OutcomeUnknown, Overloaded
from domain.eventlog.connection.notifications import Wake
from domain.eventlog.connection.pools import CONNECT_TIMEOUT
from domain.eventlog.connection.timeouts import OUTAGES, is_closed_by_server, with_keepalives
from domain.eventlog.sessions import KEEPALIVE, session_options
from domain.supervisor import Background, Tasks
from workers import connection_slots
from workers.connection_slots import ConnectionSlots, ReleasableConnection

TAKE_OVER = 1.0
"""Seconds between two tries to become the owner."""
POLL_INTERVAL = 10.0
"""Seconds between two polls of an owner for work, unless something wakes it."""
CHECK_EVERY = 1.0
"""Seconds between two checks of the clock and the connection while an owner waits; they need no query."""
SHORT = 1.5
"""Seconds up to which a wait is short, so that the connection and its slot are not released."""
WORK = ("timers", "leases", "webhooks", "jobs", "audit", "erasures", "access")
"""The kinds of work that should always have an owner, besides the views, each of which has an owner of its own. Archiving has
one only while it is done.
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
"""The kinds of work that have an owner: the lock of the work is held, or the lock of all work of the log."""

log = structlog.get_logger()


class OwnedWork(Background):
    """Does a kind of work on a log while this process owns it.

    `follows`: the view from which it reads what is due. `wake` is set when that view has moved, and wakes the work; without
    that it polls.
    """

    outages = (*OUTAGES, Overloaded, OutcomeUnknown)
    work: ClassVar[str]
    follows: ClassVar[str | None] = None

    turn: ClassVar[Literal["quick", "slow", "calling"]] = "quick"
    """The slots of which it takes one: whether it may hold that for long, and why."""
    slots: ConnectionSlots | None = None
    """The slots for the connections of the work of all logs; None where the work keeps its connection open."""

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
        """Return once something is due, `wake` is set, or the connection is lost, and after so many seconds (`POLL_INTERVAL`) anyway.

        `due_in` returns the seconds until something is due, or inf. It is called repeatedly, as a clock may leap. With slots, the
        connection is closed during the wait, unless the wait is short and the work `needs` the connection.
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
            self.wake.clear()  # the work polls now, so an earlier wake is not needed
        else:
            await self._wait(seconds, due_in, CHECK_EVERY, connection)

    async def pause(self, connection: AsyncConnection, seconds: float) -> None:
        """Wait for so many seconds; neither `wake` nor due work ends the wait."""
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
        while (remaining := min(end - monotonic(), due_in())) > 0:
            woken = await self.wake.wait(min(remaining, check_every))
            if woken or (connection is not None and is_closed_by_server(connection)):
                return

    async def _own_and_run(self) -> None:
        slot = None if self.slots is None else getattr(self.slots, self.turn)
        async with ownership(self._conninfo, self._schema, self.work, slot) as connection:
            write_log = log.info if slot is None else log.debug
            write_log("this process is the owner", work=self.work)
            self.wake.clear()  # the work polls first, so an earlier wake is not needed
            await self.run(connection)


@asynccontextmanager
async def ownership(
    conninfo: str, schema: str, work: str, slot: asyncio.Semaphore | None = None
) -> AsyncIterator[AsyncConnection]:
    """Wait until this process owns some work on a log; yield the connection that holds the lock. With a `slot`, it also waits for
    the slot, and the connection may be released while the work is idle.
    """
    if slot is None:
        async with await _connect(conninfo, schema) as connection:
            while not await _try_lock(connection, f"{work} of {schema}", work):  # noqa: ASYNC110 - no signal for it
                await asyncio.sleep(TAKE_OVER)
            yield connection
        return
    releasable = ReleasableConnection(partial(_connect_and_own, conninfo, schema, work), slot)
    await releasable.acquire()
    try:
        yield cast(AsyncConnection, releasable)
    finally:
        await releasable.release()


async def _connect(conninfo: str, schema: str) -> AsyncConnection:
    options = f"{session_options(schema)} -c statement_timeout=5s {KEEPALIVE}"
    return await AsyncConnection.connect(
        with_keepalives(conninfo), autocommit=True, connect_timeout=CONNECT_TIMEOUT, options=options
    )


async def _connect_and_own(conninfo: str, schema: str, work: str) -> AsyncConnection | None:
    """Open a connection that has the lock; None where another process has it."""
    connection = await _connect(conninfo, schema)
    owned = False
    try:
        owned = await _try_lock(connection, f"{work} of {schema}", work)
    finally:
        if not owned:
            await connection.close()
    return connection if owned else None


async def _try_lock(connection: AsyncConnection, *names: str) -> bool:
    cursor = await connection.execute(OWN, names)
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def without_owner(connection: AsyncConnection, schema: str) -> list[str]:
    """The kinds of work on a log that have no owner at present."""
    cursor = await connection.execute(OWNED, (list(WORK), schema))
    owned = {row[0] for row in await cursor.fetchall()}
    return [work for work in WORK if work not in owned]
