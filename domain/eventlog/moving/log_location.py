"""Which database a log is in, for servers and commands that know only the one from which it was moved."""

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
"""How many moves are followed from the first database of a log."""
POLL = 1.0
"""Seconds between two looks of a log that has its connections for itself."""

log = structlog.get_logger()


def channel_of_moves(schema: str) -> str:
    """Is notified of once the log of a schema has moved."""
    return f"{schema}_moved"


def find_move_target(
    conninfo: str, schema: str, connection: Connection[Any] | None = None
) -> str | None:
    """The location to which a log has moved from there, if any; a `connection` to there spares one.

    Raises:
        Overloaded: the database cannot be reached.
    """
    location, asked = None, connection or conninfo
    for _ in range(MOST_MOVES):
        with session(asked, schema) as there:
            if there.execute(EXISTS).fetchone() != (True,):
                return location
            row = there.execute(MOVED).fetchone()
        if row is None:
            return location
        location = str(row[0])
        asked = conninfo = conninfo_at(conninfo, location)
    return location


def locate(
    conninfo: str, schema: str, *others: str, connection: Connection[Any] | None = None
) -> tuple[str, ...]:
    """A connection string, and others of the same database, as they are where the log is by now. Where the database
    cannot be asked, they stay as they are. A `connection` to the first of them spares one.
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
    await listener.stop()
    listener.start()


class MoveMonitor(Background):
    """Leads parts of a process to where the log of a store has moved, each by a call with the connection string there,
    and goes on looking. `on_moved` is called then, too. Make it before the listener is started.
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
        """`poll`: seconds between two looks, unless the end of a move is notified of."""
        self._store = store
        self.wake = listener.subscribe(channel_of_moves(store.schema))
        self._conninfo = conninfo
        self._relocate = relocate
        self.on_moved = on_moved
        self._poll = poll
        self.moved = False
        """Whether the log has moved while it was watched."""

    def tasks(self) -> Tasks:
        return {"move monitor": self._run}

    async def _run(self) -> None:
        while True:
            async with self._store.reader() as connection:
                row = await (await connection.execute(MOVED)).fetchone()
            if row is not None:
                await self._go_to(str(row[0]))
            await self.wake.wait(self._poll)

    async def _go_to(self, location: str) -> None:
        log.warning("the log has moved", location=location)
        self.moved = True
        self._conninfo = conninfo_at(self._conninfo, location)
        for relocate in self._relocate:
            await relocate(self._conninfo)
        self.on_moved(self._conninfo)
