"""Finds the database of a log, for servers and commands that are configured with one from which the log was moved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import structlog
from psycopg import Connection

from domain.errors import Overloaded
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.moving.journal import conninfo_at
from domain.eventlog.sessions import session
from domain.eventlog.store import Store
from domain.supervisor import Background, Tasks

MOVED = "SELECT target FROM log_move WHERE moved AND follow"
EXISTS = "SELECT to_regclass('log_move') IS NOT NULL"
MOST_MOVES = 8
"""The number of moves that are followed from the first database of a log."""
POLL = 1.0
"""Seconds between two polls for a log that does not share its connections."""

log = structlog.get_logger()


def channel_of_moves(schema: str) -> str:
    """The channel that is notified once the log of a schema has moved."""
    return f"{schema}_moved"


def find_move_target(
    conninfo: str, schema: str, connection: Connection[Any] | None = None
) -> str | None:
    """The location to which a log has moved from a database; None where it has not moved. `connection`: one to that database
    that may be used.

    Raises:
        Overloaded: the database cannot be reached.
    """
    location, database = None, connection or conninfo
    for _ in range(MOST_MOVES):
        with session(database, schema) as connected:
            if connected.execute(EXISTS).fetchone() != (True,):
                return location
            row = connected.execute(MOVED).fetchone()
        if row is None:
            return location
        location = str(row[0])
        database = conninfo = conninfo_at(conninfo, location)
    return location


def locate(
    conninfo: str, schema: str, *others: str, connection: Connection[Any] | None = None
) -> tuple[str, ...]:
    """Connection strings of one database, changed to the database where the log is now. They are returned unchanged where
    the database cannot be reached. `connection`: one to the first of them that may be used.
    """
    location = None
    with suppress(Overloaded):
        location = find_move_target(conninfo, schema, connection)
    if location is None:
        return conninfo, *others
    log.warning(
        "the log has moved: name its new database in EXECUTIONS_DATABASE_URL", location=location
    )
    return tuple(conninfo_at(each, location) for each in (conninfo, *others))


async def relocate_listener(listener: Listener, conninfo: str) -> None:
    """Connect a running listener to another database."""
    listener.conninfo = conninfo
    await listener.reconnect()


class MoveMonitor(Background):
    """Watches whether the log of a store has moved. After a move it calls each function in `relocate`, and then `on_moved`,
    with the connection string of the new database. Create it before the listener is started.
    """

    outages = (Overloaded, psycopg.Error)

    def __init__(
        self,
        store: Store,
        listener: Listener,
        conninfo: str,
        relocate: Sequence[Callable[[str], Awaitable[object]]] = (),
        on_moved: Callable[[str], object] = lambda _: None,
        *,
        poll: float = POLL,
    ) -> None:
        """`poll`: seconds between two polls; a notification of a move wakes it earlier."""
        self._store = store
        self.wake = listener.subscribe(channel_of_moves(store.schema))
        self._conninfo = conninfo
        self._relocate = relocate
        self.on_moved = on_moved
        self._poll = poll
        self.moved = False
        """Whether the log has moved since the watch was started."""

    def tasks(self) -> Tasks:
        return {"move monitor": self._run}

    async def _run(self) -> None:
        while True:
            async with self._store.reader() as connection:
                row = await (await connection.execute(MOVED)).fetchone()
            if row is not None:
                await self._follow_to(str(row[0]))
            await self.wake.wait(self._poll)

    async def _follow_to(self, location: str) -> None:
        log.warning("the log has moved", location=location)
        self.moved = True
        self._conninfo = conninfo_at(self._conninfo, location)
        for relocate in self._relocate:
            await relocate(self._conninfo)
        self.on_moved(self._conninfo)
