"""How others hear that something was committed: by the statement itself, or by one of its own after it.

PostgreSQL lets those who notify commit one after the other, in all its databases: each holds one lock until its commit
is on the disk and, where it has to be, on a standby. One log commits so anyway; several on one server would wait for
each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection

from domain.eventlog.connection.shared import SharedDatabase
from domain.eventlog.connection.timeouts import watched
from domain.eventlog.notifications import Wake
from domain.eventlog.sessions import session_options
from domain.supervisor import cancel, supervise

PAUSE = 0.005
"""Seconds between two notifications at least: those who listen read all that was committed meanwhile."""
NOTIFY = "SELECT pg_notify(%b, '')"
# A notification is on no disk, so its commit waits for none, and holds the lock for microseconds.
NO_FLUSH = "-c synchronous_commit=off"


class Notifier:
    """Notifies the channel of a log of what is committed; `apart` from the commits, on a connection of its own, once
    it is started, or on the one of a database that is `shared`: so of a log with a name, as several of those may be on one server.

    What is committed while that connection is lost is notified of when it is there again, and those who
    listen look by themselves now and then.
    """

    def __init__(
        self,
        conninfo: str,
        channel: str,
        *,
        apart: bool = False,
        shared: SharedDatabase | None = None,
    ) -> None:
        self.channel = channel
        self.apart = apart or shared is not None
        self._voice = None if shared is None else shared.voice
        self._conninfo = conninfo
        self._committed = Wake()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def notifying(self, events: Sequence[Any]) -> Iterator[None]:
        """Notify once the block is over, where events were committed in it, or may have been."""
        try:
            yield
        finally:
            if self._voice is not None and events:
                self._voice.notify(self.channel)
            elif self.apart and events:
                self._committed.set()

    def start(self) -> None:
        """Begin to notify, and to connect again whenever that is needed."""
        if self.apart and self._voice is None:
            run = supervise("notifier", self._run, (psycopg.Error, OSError))
            self._task = asyncio.create_task(run, name="notifier")

    async def stop(self) -> None:
        """Stop notifying."""
        if self._task is not None:
            await cancel(self._task)

    def relocate(self, conninfo: str) -> None:
        """Notify in another place from now on."""
        self._conninfo = conninfo
        self._committed.set()

    async def _run(self) -> None:
        place = self._conninfo
        async with await self._connect() as connection:
            while place == self._conninfo:
                await connection.execute(NOTIFY, (self.channel,), prepare=True)
                await asyncio.sleep(PAUSE)
                await self._committed.wait()

    async def _connect(self) -> AsyncConnection:
        return await AsyncConnection.connect(
            watched(self._conninfo),
            autocommit=True,
            connect_timeout=3,
            options=f"{session_options(self.channel)} {NO_FLUSH}",
        )
