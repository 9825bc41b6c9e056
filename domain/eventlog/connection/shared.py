"""The connections to one database that all its logs share in a process: an idle log has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from domain.eventlog.connection.notification_sender import NotificationSender
from domain.eventlog.connection.pools import IDLE, NO_WAIT, SEARCHING, new_pool, reason_away
from domain.eventlog.connection.shared_listener import NO_SCHEMA, ListenConnection
from domain.eventlog.sessions import program
from domain.supervisor import Background, Tasks

POLL_INTERVAL = 1.0
"""Seconds between two looks at idle connections."""
WAITS = 3.0
"""Seconds that one waits for a connection that others have."""
TURN = "SELECT set_config('search_path', %s, false), set_config('application_name', %s, false)"

Close = Callable[[], Awaitable[None]]


class SharedConnection(AsyncConnection):
    """A connection that is of one log at a time. Before it is of any it finds no table."""

    schema = ""

    async def turn_to(self, schema: str) -> None:
        """See the tables of this log, and of no other."""
        if self.schema != schema:
            self.schema = ""  # unknown, until it has answered
            await self.execute(TURN, (schema, program(schema)), prepare=True)
            self.schema = schema


class WriterSlots(Background):
    """Slots for connections that are a log's own: those that write. Where all are taken, the connection that is idle for
    longest is closed; and each once it was idle for a while.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._idle: dict[object, tuple[float, Close]] = {}
        self._changed = asyncio.Event()
        """Set once a slot is free, or its connection is idle."""

    def tasks(self) -> Tasks:
        return {"idle connections": self._close_unused}

    async def connect(self, connect: Callable[[], Awaitable[AsyncConnection]]) -> AsyncConnection:
        """A new connection in a slot, which `leave` gives back.

        Raises:
            TimeoutError: no slot becomes free in time.
            psycopg.Error: the database cannot be reached.
        """
        async with asyncio.timeout(WAITS):
            while not self._free:
                if self._idle:
                    await self._close(next(iter(self._idle)))
                else:
                    self._changed.clear()
                    await self._changed.wait()
        self._free -= 1
        try:
            return await connect()
        except BaseException:
            self._release()
            raise

    def leave(self, owner: object) -> None:
        """The connection of an owner is closed."""
        self._idle.pop(owner, None)
        self._release()

    def mark_idle(self, owner: object, close: Close) -> None:
        """The connection of an owner is idle, and may be closed."""
        self._idle[owner] = monotonic(), close
        self._changed.set()

    def resume(self, owner: object) -> None:
        """The connection of an owner is in use."""
        self._idle.pop(owner, None)

    def _release(self) -> None:
        self._free += 1
        self._changed.set()

    async def _close(self, owner: object) -> None:
        _, close = self._idle.pop(owner)
        await close()

    async def _close_unused(self) -> None:
        while True:
            before = monotonic() - IDLE
            for owner in [owner for owner, (at, _) in self._idle.items() if at < before]:
                if owner in self._idle:  # the one before took a moment to close
                    await self._close(owner)
            await asyncio.sleep(POLL_INTERVAL)


class SharedDatabase:
    """One connection that listens, one that notifies, pools of those that read and of those that search, and slots
    for those that write.
    """

    def __init__(self, conninfo: str, connections: int) -> None:
        """`connections`: those that read, at most; half as many more search, and as many may write."""
        self.users = 0
        self.listen_connection, self.sender = (
            ListenConnection(conninfo),
            NotificationSender(conninfo),
        )
        self.writer_slots = WriterSlots(connections)
        self.of_one_log = max(2, connections // 4)
        """Connections of a pool that one log may have at once: so there are some for others."""
        self.on_away: set[Callable[[str], object]] = set()
        """What is called with the reason where the database cannot be reached."""
        self._conninfo = conninfo
        options = f"{NO_SCHEMA} {NO_WAIT}"
        searching = f"{options} {SEARCHING}"
        self.readers = new_pool(
            conninfo, options, connections, self._check_reachable, SharedConnection
        )
        self.searchers = new_pool(
            conninfo, searching, max(2, connections // 2), self._check_reachable, SharedConnection
        )

    async def start(self) -> None:
        """Begin to connect, as it is needed."""
        self.listen_connection.start()
        self.sender.start()
        self.writer_slots.start()
        await self.readers.open()
        await self.searchers.open()

    async def stop(self) -> None:
        """Close every connection."""
        await self.listen_connection.stop()
        await self.sender.stop()
        await self.writer_slots.stop()
        await self.readers.close()
        await self.searchers.close()

    async def _check_reachable(self, _: AsyncConnectionPool) -> None:
        """A pool could not connect: see whether the database is away, and why."""
        if (reason := await reason_away(self._conninfo)) is not None:
            for call in list(self.on_away):
                call(reason)


class SharedDatabases:
    """The databases of the logs that a process has to do with, each there while a log uses it."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._used: dict[str, SharedDatabase] = {}

    @asynccontextmanager
    async def of(self, conninfo: str) -> AsyncIterator[SharedDatabase]:
        """That of a connection string, while the block runs."""
        shared = self._used.get(conninfo)
        if shared is None:
            shared = self._used[conninfo] = SharedDatabase(conninfo, self._connections)
            await shared.start()
        shared.users += 1
        try:
            yield shared
        finally:
            shared.users -= 1
            if not shared.users:
                del self._used[conninfo]
                await shared.stop()
