"""The connections to the log's database: one that writes, a pool of those that read, and a small pool
of those that search, which clients may make as slow as they like.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from domain.errors import NO_MEMORY, OutcomeUnknown, TooExpensive
from domain.eventlog.connection.notifier import Notifier
from domain.eventlog.connection.pools import (
    CONNECT_TIMEOUT,
    NO_WAIT,
    SEARCHING,
    new_pool,
    reason_away,
)
from domain.eventlog.connection.shared import SharedConnection, SharedDatabase
from domain.eventlog.connection.timeouts import OUTAGES, cut_after, is_closed_by_server, note_outage
from domain.eventlog.sessions import program, session_options
from domain.outages import Outages

# After so many seconds the connection to a database that hangs is cut.
READ_TIMEOUT, WRITE_TIMEOUT = 5, 5
LOOKUP_TIMEOUT = 2
OPEN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
"""Of a transaction that has not ended. In one that has failed every further statement fails, too."""
END = """SELECT pg_terminate_backend(pid, 1500) FROM pg_stat_activity
    WHERE application_name = ANY(%s) AND pid <> pg_backend_pid()"""


class Connections:
    """Made again whenever they must be. `session` changes with the connection that writes."""

    def __init__(
        self, conninfo: str, schema: str, readers: int, shared: SharedDatabase | None = None
    ) -> None:
        """Pools of its own, with so many readers, or those of a database that is `shared` with other logs."""
        self.session = 0
        self._identity = token_hex(8)
        self.outages = Outages()
        self._conninfo = conninfo
        self._schema = schema
        self._shared = shared
        self._options: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT,
            "options": f"{session_options(schema)} {NO_WAIT}",
        }
        self.notifier: Notifier | None = None
        """Goes to another database with the rest."""
        self._writer: AsyncConnection | None = None
        self._writer_of = ""
        """Where it leads to."""
        self._former_writer = ""
        self._writing = False
        if shared is None:
            self._readers = self._pool(readers)
            self._searchers = self._pool(max(2, readers // 2), f" {SEARCHING}")
        else:
            self._readers, self._searchers = shared.readers, shared.searchers
            self._turns = {
                pool: asyncio.Semaphore(shared.of_one_log)
                for pool in (shared.readers, shared.searchers)
            }

    def _pool(self, size: int, more: str = "") -> AsyncConnectionPool:
        options, name = self._options["options"] + more, program(self._schema)
        return new_pool(self._conninfo, options, size, self._check_reachable, application_name=name)

    async def open(self) -> None:
        """Start the pools; they connect in the background, and again whenever they must."""
        if self._shared is not None:
            self._shared.on_away.add(self.outages.begin)
            return
        await self._readers.open()
        await self._searchers.open()

    async def relocate(self, conninfo: str) -> None:
        """Connect to another database from now on; what is lent out ends where it is. Connections that are shared with other
        logs lead nowhere else: such a log is closed, and opened where it is.
        """
        if self._shared is not None:
            raise RuntimeError("the connections of a database that logs share lead nowhere else")
        self._conninfo = conninfo
        if self.notifier is not None:
            self.notifier.relocate(conninfo)
        for pool in (self._readers, self._searchers):
            pool.conninfo = conninfo
            await pool.drain()

    async def close(self) -> None:
        """Close every connection."""
        await self.drop_writer()
        if self._shared is not None:
            self._shared.on_away.discard(self.outages.begin)
            return
        await self._readers.close()
        await self._searchers.close()

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[AsyncConnection]:
        """The one connection that writes; a transaction that is left open is rolled back.

        Raises:
            Overloaded: the database is away or too slow.
            OutcomeUnknown: no memory was left, perhaps when all was sent.
            RuntimeError: another task writes on it; one log has one writer in a process.
        """
        if self._writing:
            raise RuntimeError("two writers share a store: give each a store of its own")
        self._writing = True
        try:
            async with self._noticing_outages():
                if self._shared is not None:
                    self._shared.writer_slots.resume(self)
                connection = await self._connect_writer()
                with cut_after(WRITE_TIMEOUT, connection):
                    try:
                        yield connection
                    finally:
                        if connection.info.transaction_status in OPEN:
                            await connection.execute("ROLLBACK")
        except MemoryError as error:
            raise OutcomeUnknown(NO_MEMORY) from error
        finally:
            self._writing = False
            self._mark_writer_idle()

    def _mark_writer_idle(self) -> None:
        """The connection that writes is idle; where others need its slot it is closed, and in a while anyway."""
        if self._shared is not None and self._writer is not None:
            self._shared.writer_slots.mark_idle(self, self.drop_writer)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        """A pooled connection in autocommit, for a few seconds.

        Raises:
            Overloaded: the database is away or too slow, or every connection is busy for too long.
        """
        async with self._lent(self._readers) as connection:
            yield connection

    @asynccontextmanager
    async def searcher(self, indexed: Sequence[str]) -> AsyncIterator[AsyncConnection]:
        """A pooled connection in autocommit whose statements have `SEARCH_TIMEOUT` milliseconds each.

        Raises:
            TooExpensive: one of them takes longer; names the fields that are `indexed`.
            Overloaded: as with `reader`.
        """
        async with self._lent(self._searchers) as connection:
            try:
                yield connection
            except QueryCanceled as error:
                raise TooExpensive(indexedFields=list(indexed)) from error

    @asynccontextmanager
    async def _lent(self, pool: AsyncConnectionPool) -> AsyncIterator[AsyncConnection]:
        async with self._noticing_outages(), self._turn(pool):
            connection = await _living(pool)
            try:
                with cut_after(READ_TIMEOUT, connection):
                    if isinstance(connection, SharedConnection):
                        await connection.turn_to(self._schema)
                    yield connection
            finally:
                await pool.putconn(connection)

    @asynccontextmanager
    async def _turn(self, pool: AsyncConnectionPool) -> AsyncIterator[None]:
        """One of the connections that this log may have at once of a pool that others need, too."""
        if self._shared is None:
            yield
            return
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await self._turns[pool].acquire()
        try:
            yield
        finally:
            self._turns[pool].release()

    @asynccontextmanager
    async def _noticing_outages(self) -> AsyncIterator[None]:
        """What comes of using the database is noted; that it is away is an `Overloaded`."""
        try:
            yield
        except OUTAGES as error:
            raise note_outage(error, self.outages) from error
        except Exception as error:
            if isinstance(error.__cause__, OUTAGES):
                note_outage(error.__cause__, self.outages)
            raise
        self.outages.note_answer()

    async def _check_reachable(self, _: AsyncConnectionPool) -> None:
        """A pool could not connect: see whether the database is away, and why."""
        if self.outages.current is None:
            reason = await reason_away(self._conninfo, options=self._options["options"])
            if reason is not None:
                self.outages.begin(reason)

    async def drop_writer(self) -> None:
        """Discard the connection that writes: the outcome of its last statement is unknown."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._former_writer = self._name
            await writer.close()
            if self._shared is not None:
                self._shared.writer_slots.leave(self)

    @asynccontextmanager
    async def after_former_writer(self) -> AsyncIterator[AsyncConnection]:
        """A connection of its own on which everything shows that the writer before wrote: the server's
        end of that one is gone.

        Raises:
            Overloaded: the database is away or too slow, or that end does not go.
        """
        # The ones that asked before may still wait for a standby: nobody else would end them.
        name = f"executions look-up {self._identity}"
        async with self.fresh(application_name=name) as connection:
            cursor = await connection.execute(END, ([self._former_writer, name],))
            if any(not gone for (gone,) in await cursor.fetchall()):
                raise TimeoutError("a connection of before is still at work")
            yield connection

    @asynccontextmanager
    async def fresh(self, **options: Any) -> AsyncIterator[AsyncConnection]:
        """A connection of its own in autocommit, made now: to where the database is by now.

        Raises:
            Overloaded: the database is away or too slow.
        """
        async with self._noticing_outages():
            connection = await AsyncConnection.connect(
                self._conninfo, autocommit=True, **self._options, **options
            )
            try:
                with cut_after(LOOKUP_TIMEOUT, connection):
                    yield connection
            finally:
                await connection.close()

    async def _connect_writer(self) -> AsyncConnection:
        if self._writer is not None and (
            self._writer_of != self._conninfo or is_closed_by_server(self._writer)
        ):
            await self.drop_writer()
        if self._writer is None:
            self.session += 1
            self._writer_of = self._conninfo
            options = {**self._options, "application_name": self._name}
            connecting = partial(
                AsyncConnection.connect, self._conninfo, autocommit=True, **options
            )
            if self._shared is None:
                self._writer = await connecting()
            else:
                self._writer = await self._shared.writer_slots.connect(connecting)
        return self._writer

    @property
    def _name(self) -> str:
        """How the server knows the connection that writes: no other has the same name."""
        return f"executions writer {self._identity} {self.session}"


async def _living(pool: AsyncConnectionPool) -> AsyncConnection:
    # The pool's own check of what it gives away would wait a second after each dead one.
    while is_closed_by_server(connection := await pool.getconn()):
        await connection.close()
        await pool.putconn(connection)
    return connection
