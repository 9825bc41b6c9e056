"""The ownership of logs by processes that work for many logs: all work of a log is done by the process whose connection holds
the advisory lock of the log. One connection holds the locks of all logs of a database, and also watches them, so that idle logs
need no other connection.
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
from domain.eventlog.connection.pools import CONNECT_TIMEOUT
from domain.eventlog.connection.shared_listener import NO_SCHEMA
from domain.eventlog.connection.timeouts import OUTAGES, is_closed_by_server, with_keepalives
from domain.eventlog.sessions import KEEPALIVE
from domain.supervisor import Background, Tasks

CHECK_EVERY = 1.0
"""Seconds between two checks of the connection, and between two tries to get locks that another process holds."""
CHECK_INTERVAL = 60.0
"""Seconds between two checks for changes of which no notification came."""
TOGETHER = 100
"""Logs that one statement checks."""
OWN = """SELECT schema FROM unnest(%s::text[]) AS schema
    WHERE pg_try_advisory_lock(hashtext('all work of ' || schema), hashtext('all work'))"""
LEAVE = """SELECT pg_advisory_unlock(hashtext('all work of ' || schema), hashtext('all work'))
    FROM unnest(%s::text[]) AS schema"""

STATE = """SELECT {name}, concat(
    (SELECT CAST((log_id, position) AS text) FROM {schema}.head),
    (SELECT CAST(id AS text) FROM {schema}.access_head),
    (SELECT CAST((id, former IS NOT NULL) AS text) FROM {schema}.master_key),
    (SELECT target FROM {schema}.log_move WHERE moved AND follow))"""
"""The state of a log as a text: its id, its position, that of its access log, its master key, and its new location, if any."""

log = structlog.get_logger()


@dataclass(slots=True)
class OwnedLog:
    """A log whose lock is held. `on_lost` is called when the lock is lost, `on_changed` when the state of the log has changed."""

    on_lost: Callable[[], object]
    on_changed: Callable[[], object]
    state: str | None = None


class LogOwnership(Background):
    """Holds the locks of the logs of one database for which this process works, and watches these logs."""

    outages = OUTAGES

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._wanted: dict[str, asyncio.Future[None]] = {}
        self._owned: dict[str, OwnedLog] = {}
        self._to_release: set[str] = set()
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
        """Wait for the lock of a log, and hold it for the block. `on_lost` is called if the lock is lost before the end of the
        block, `on_changed` within a minute after a change of the log.
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
                self._to_release.add(schema)
                self._wake.set()

    async def _run(self) -> None:
        options = f"{NO_SCHEMA} {KEEPALIVE} -c statement_timeout=5s"
        try:
            async with await AsyncConnection.connect(
                with_keepalives(self._conninfo),
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT,
                options=options,
            ) as connection:
                check_at = monotonic() + CHECK_INTERVAL
                while not is_closed_by_server(connection):
                    await self._update_locks(connection)
                    if monotonic() >= check_at:
                        await self._check(connection)
                        check_at = monotonic() + CHECK_INTERVAL
                    await self._wake.wait(CHECK_EVERY)
        finally:
            self._to_release.clear()
            for owned in list(self._owned.values()):
                owned.on_lost()

    async def _check(self, connection: AsyncConnection) -> None:
        schemas = list(self._owned)
        for start in range(0, len(schemas), TOGETHER):
            page = schemas[start : start + TOGETHER]
            try:
                states = await _read_states(connection, page)
            except ProgrammingError:  # a log was dropped: treat all as changed
                states = {}
            for schema in page:
                state = states.get(schema)
                if (owned := self._owned.get(schema)) and (state is None or state != owned.state):
                    owned.state = state
                    owned.on_changed()

    async def _update_locks(self, connection: AsyncConnection) -> None:
        """Release the locks that are not needed any more, and try to get those that are wanted."""
        if self._to_release:
            schemas, self._to_release = self._to_release, set()
            await connection.execute(LEAVE, (list(schemas),))
        if not (wanted := [name for name, own in self._wanted.items() if not own.done()]):
            return
        cursor = await connection.execute(OWN, (wanted,))
        for (schema,) in await cursor.fetchall():
            if (own := self._wanted.get(schema)) is not None and not own.done():
                own.set_result(None)
            else:
                self._to_release.add(schema)  # its caller does not wait any more


async def _read_states(connection: AsyncConnection, schemas: Sequence[str]) -> dict[str, str]:
    """The state of each log, as a text."""
    each = [
        SQL(STATE).format(name=Literal(schema), schema=Identifier(schema)) for schema in schemas
    ]
    cursor = await connection.execute(SQL(" UNION ALL ").join(each), prepare=False)
    return dict(await cursor.fetchall())
