"""The connections to one database that its logs share in a process, so that an idle log has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from domain.eventlog.connection.notification_sender import NotificationSender
from domain.eventlog.connection.pools import IDLE, NO_WAIT, SEARCHING, new_pool, reason_away
from domain.eventlog.connection.shared_listener import NO_SCHEMA, ListenConnection
from domain.eventlog.sessions import program
from domain.supervisor import Background, Tasks

POLL_INTERVAL = 1.0
"""Seconds between two checks of idle connections."""
SLOT_TIMEOUT = 3.0
"""Seconds to wait for a slot that another log has."""
UNUSED, TURN_LASTS = 0.02, 0.25
"""Seconds for which a connection is idle, or else has been open, before it is closed for another log: a new one takes 7 ms of
CPU, so that without turns more busy logs than slots would do little else.
"""
TURN = "SELECT set_config('search_path', %s, false), set_config('application_name', %s, false)"

Close = Callable[[], Awaitable[None]]


class SharedConnection(AsyncConnection):
    """A connection that is used for one log at a time. A new one has no schema, and finds no table."""

    schema = ""

    async def turn_to(self, schema: str) -> None:
        """Use the tables of the log with this schema."""
        if self.schema != schema:
            self.schema = ""  # unknown until the statement has succeeded
            await self.execute(TURN, (schema, program(schema)), prepare=True)
            self.schema = schema


class WriterSlots(Background):
    """Slots for the writing connections, of which each log has one of its own. Where all slots are taken, the connection
    that has been idle for longest is closed, if it is not in use or its turn is over. Every connection is closed that has
    been idle for `IDLE` seconds.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._idle: dict[object, tuple[float, Close]] = {}
        self._began: dict[object, float] = {}
        """When the connection of an owner became idle for the first time."""
        self._changed = asyncio.Event()
        """Set when a slot becomes free, or its connection idle."""

    def tasks(self) -> Tasks:
        return {"idle connections": self._close_unused}

    async def connect(self, connect: Callable[[], Awaitable[AsyncConnection]]) -> AsyncConnection:
        """Take a slot, which `leave` frees, and make a connection in it.

        Raises:
            TimeoutError: no slot became free within `SLOT_TIMEOUT`.
            psycopg.Error: the database cannot be reached.
        """
        async with asyncio.timeout(SLOT_TIMEOUT):
            while not self._free:
                if (owner := self._longest_idle()) is not None:
                    await self._close(owner)
                    continue
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(UNUSED):
                        await self._changed.wait()
        self._free -= 1
        try:
            return await connect()
        except BaseException:
            self._release()
            raise

    def leave(self, owner: object) -> None:
        """Free the slot of an owner whose connection is closed."""
        self._idle.pop(owner, None)
        self._began.pop(owner, None)
        self._release()

    def mark_idle(self, owner: object, close: Close) -> None:
        """Mark the connection of an owner as idle; `close` may be called from now on."""
        self._idle[owner] = (now := monotonic()), close
        self._began.setdefault(owner, now)
        self._changed.set()

    def resume(self, owner: object) -> None:
        """Mark the connection of an owner as used."""
        self._idle.pop(owner, None)

    def _release(self) -> None:
        self._free += 1
        self._changed.set()

    def _longest_idle(self) -> object | None:
        """The owner whose connection may be closed for another log."""
        now = monotonic()
        for owner, (at, _) in self._idle.items():
            if now - at >= UNUSED or now - self._began[owner] >= TURN_LASTS:
                return owner
        return None

    async def _close(self, owner: object) -> None:
        _, close = self._idle.pop(owner)
        await close()

    async def _close_unused(self) -> None:
        while True:
            before = monotonic() - IDLE
            for owner in [owner for owner, (at, _) in self._idle.items() if at < before]:
                if owner in self._idle:  # it may have been used while another was closed
                    await self._close(owner)
            await asyncio.sleep(POLL_INTERVAL)


class SharedDatabase:
    """The connections of a process to one database: one that listens, one that notifies, pools for reads and searches, and
    slots for writing connections.
    """

    def __init__(self, conninfo: str, connections: int) -> None:
        """`connections`: how many may read; as many may write, and half as many search."""
        self.users = 0
        self.listen_connection, self.sender = (
            ListenConnection(conninfo),
            NotificationSender(conninfo),
        )
        self.writer_slots = WriterSlots(connections)
        self.of_one_log = max(2, connections // 4)
        """The most connections of a pool that one log may have at once."""
        self.on_away: set[Callable[[str], object]] = set()
        """Functions that are called with the reason when the database cannot be reached."""
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
        """Start the parts; each connects when it needs to."""
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
        """Find out why a pool could not connect, and report an outage of the database."""
        if (reason := await reason_away(self._conninfo)) is not None:
            for call in list(self.on_away):
                call(reason)


class SharedDatabases:
    """The shared connections to databases, made for the first log that uses a database, and closed after the last one."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._used: dict[str, SharedDatabase] = {}

    @asynccontextmanager
    async def of(self, conninfo: str) -> AsyncIterator[SharedDatabase]:
        """The shared connections to the database of a connection string, for the block."""
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
