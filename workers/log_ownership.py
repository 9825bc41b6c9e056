"""One process at a time does all work of a log among many: the one whose connection holds the advisory lock of that
log. One connection has the locks of all logs of a database, and no other is needed while they are idle: over it they are
watched, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import structlog
from psycopg import AsyncConnection, ProgrammingError
from psycopg.sql import SQL, Identifier, Literal

from domain.eventlog.connection.notifications import Wake
from domain.eventlog.connection.shared_listener import NO_SCHEMA
from domain.eventlog.connection.timeouts import OUTAGES, is_closed_by_server
from domain.eventlog.sessions import KEEPALIVE
from domain.supervisor import Background, Tasks

CHECK_EVERY = 1.0
"""Seconds between two looks whether the connection is there, and at the locks that another process has."""
CHECK_INTERVAL = 60.0
"""Seconds between two looks whether something has changed in a log of which no notification came."""
TOGETHER = 100
"""Logs that are looked at in one statement."""
OWN = """SELECT schema FROM unnest(%s::text[]) AS schema
    WHERE pg_try_advisory_lock(hashtext('all work of ' || schema), hashtext('all work'))"""
LEAVE = """SELECT pg_advisory_unlock(hashtext('all work of ' || schema), hashtext('all work'))
    FROM unnest(%s::text[]) AS schema"""

STATE = """SELECT {name}, concat(
    (SELECT CAST((log_id, position) AS text) FROM {schema}.head),
    (SELECT CAST(id AS text) FROM {schema}.access_head),
    (SELECT CAST((id, former IS NOT NULL) AS text) FROM {schema}.master_key),
    (SELECT target FROM {schema}.log_move WHERE moved AND follow))"""
"""Which log it is, how far it and its access log are, under which master key it is, and where it has moved to."""

log = structlog.get_logger()


@dataclass(slots=True)
class OwnedLog:
    """What is called where the lock of a log is lost, and where its state is not the one that was read last."""

    on_lost: Callable[[], object]
    on_changed: Callable[[], object]
    state: str | None = None


class LogOwnership(Background):
    """Holds the locks of the logs that this process works for, in one database, and looks after them."""

    outages = OUTAGES

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._wanted: dict[str, asyncio.Future[None]] = {}
        self._owned: dict[str, OwnedLog] = {}
        self._left: set[str] = set()
        self._wake = Wake()

    def tasks(self) -> Tasks:
        return {"logs owned": self._run}

    @asynccontextmanager
    async def of(
        self,
        schema: str,
        on_lost: Callable[[], object],
        on_changed: Callable[[], object] = lambda: None,
    ) -> AsyncIterator[None]:
        """Wait to own a log, and own it while the block runs; `on_lost` is called where the lock is lost before,
        `on_changed` where the log has changed, in a minute at the latest.
        """
        own = self._wanted[schema] = asyncio.get_running_loop().create_future()
        self._wake.set()
        try:
            await own
            self._owned[schema] = OwnedLog(on_lost, on_changed)
            yield
        finally:
            self._wanted.pop(schema, None)
            if self._owned.pop(schema, None) is not None or own.done():
                self._left.add(schema)
                self._wake.set()

    async def _run(self) -> None:
        options = f"{NO_SCHEMA} {KEEPALIVE} -c statement_timeout=5s"
        try:
            async with await AsyncConnection.connect(
                self._conninfo, autocommit=True, connect_timeout=3, options=options
            ) as connection:
                check_at = monotonic() + CHECK_INTERVAL
                while not is_closed_by_server(connection):
                    await self._settle(connection)
                    if monotonic() >= check_at:
                        await self._check(connection)
                        check_at = monotonic() + CHECK_INTERVAL
                    await self._wake.wait(CHECK_EVERY)
        finally:
            self._left.clear()
            for owned in list(self._owned.values()):
                owned.on_lost()

    async def _check(self, connection: AsyncConnection) -> None:
        schemas = list(self._owned)
        for start in range(0, len(schemas), TOGETHER):
            asked = schemas[start : start + TOGETHER]
            try:
                states = await _states(connection, asked)
            except ProgrammingError:  # one of them is gone: let each look for itself
                states = {}
            for schema in asked:
                state = states.get(schema)
                if (owned := self._owned.get(schema)) and (state is None or state != owned.state):
                    owned.state = state
                    owned.on_changed()

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


async def _states(connection: AsyncConnection, schemas: Sequence[str]) -> dict[str, str]:
    """The state of each log, as a text."""
    each = [
        SQL(STATE).format(name=Literal(schema), schema=Identifier(schema)) for schema in schemas
    ]
    cursor = await connection.execute(SQL(" UNION ALL ").join(each), prepare=False)
    return dict(await cursor.fetchall())
