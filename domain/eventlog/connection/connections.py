"""The connections to the database of a log: one that writes, a pool for reads, and a small pool for searches, whose speed
depends on the filters of clients.
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
    RetryingPool,
    new_pool,
    reason_away,
)
from domain.eventlog.connection.shared import SharedConnection, SharedDatabase
from domain.eventlog.connection.timeouts import OUTAGES, cut_after, is_closed_by_server, note_outage
from domain.eventlog.sessions import program, session_options
from domain.outages import Outages

READ_TIMEOUT, WRITE_TIMEOUT, LOOKUP_TIMEOUT = 5, 5, 2
"""Seconds after which a connection is cut, as its database hangs."""
OPEN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
"""The statuses of a connection whose transaction has not ended."""
END = """SELECT pg_terminate_backend(pid, 1500) FROM pg_stat_activity
    WHERE application_name = ANY(%s) AND pid <> pg_backend_pid()"""


class Connections:
    """Makes connections, and new ones for those that are lost. `session` numbers the connections that have written."""

    def __init__(
        self, conninfo: str, schema: str, readers: int, shared: SharedDatabase | None = None
    ) -> None:
        """Make pools of its own, with so many `readers`, or use those of a database that is `shared` with other logs."""
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
        """The notifier that `relocate` relocates, too."""
        self._writer: AsyncConnection | None = None
        self._writer_conninfo = ""
        self._former_writer = ""
        self._writing = False
        if shared is None:
            self._readers = self._pool(readers)
            self._searchers = self._pool(max(2, readers // 2), f" {SEARCHING}")
        else:
            self._readers, self._searchers = shared.readers, shared.searchers
            self._pool_limits = {
                pool: asyncio.Semaphore(shared.of_one_log)
                for pool in (shared.readers, shared.searchers)
            }

    def _pool(self, size: int, more: str = "") -> RetryingPool:
        options, name = self._options["options"] + more, program(self._schema)
        return new_pool(self._conninfo, options, size, self._check_reachable, application_name=name)

    async def open(self) -> None:
        """Start the pools, which connect and reconnect in the background."""
        if self._shared is not None:
            self._shared.on_away.add(self.outages.begin)
            return
        await self._readers.open()
        await self._searchers.open()

    async def relocate(self, conninfo: str) -> None:
        """Connect to another database from now on; connections that are lent out stay until they are returned.

        Not for connections that are shared with other logs: such a log is closed, and opened in its new database.
        """
        if self._shared is not None:
            raise RuntimeError("shared connections cannot be relocated: close the log, and open it")
        self._conninfo = conninfo
        if self.notifier is not None:
            self.notifier.relocate(conninfo)
        for pool in (self._readers, self._searchers):
            pool.conninfo = conninfo
        await self.renew()

    async def renew(self) -> None:
        """Replace the connections for reads, as one of them leads to a server that was replaced; those that are lent out
        when they are returned.
        """
        await self._readers.drain()
        await self._searchers.drain()

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
        """Lend the one connection that writes. A transaction that is open at the end of the block is rolled back.

        Raises:
            Overloaded: the database is unavailable or too slow.
            OutcomeUnknown: the server has no memory left; everything may have been sent.
            RuntimeError: another task has the connection; one log has one writer in a process.
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
        """Let the writing connection be closed where another log needs its slot, or after a while."""
        if self._shared is not None and self._writer is not None:
            self._shared.writer_slots.mark_idle(self, self.drop_writer)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        """Lend a pooled connection in autocommit for a few seconds.

        Raises:
            Overloaded: the database is unavailable or too slow, or every connection is busy for too long.
        """
        async with self._lent(self._readers) as connection:
            yield connection

    @asynccontextmanager
    async def searcher(self, indexed: Sequence[str]) -> AsyncIterator[AsyncConnection]:
        """Lend a pooled connection in autocommit, each statement of which may take `SEARCH_TIMEOUT` milliseconds.

        Raises:
            TooExpensive: a statement took longer; the error names the `indexed` fields.
            Overloaded: the database is unavailable or too slow, or every connection is busy for too long.
        """
        async with self._lent(self._searchers) as connection:
            try:
                yield connection
            except QueryCanceled as error:
                raise TooExpensive(indexedFields=list(indexed)) from error

    @asynccontextmanager
    async def _lent(self, pool: RetryingPool) -> AsyncIterator[AsyncConnection]:
        async with self._noticing_outages(), self._limit_of_log(pool):
            connection = await _take_open_connection(pool)
            try:
                with cut_after(READ_TIMEOUT, connection):
                    if isinstance(connection, SharedConnection):
                        await connection.turn_to(self._schema)
                    yield connection
            finally:
                await pool.putconn(connection)

    @asynccontextmanager
    async def _limit_of_log(self, pool: RetryingPool) -> AsyncIterator[None]:
        """Wait until this log has fewer connections of a shared pool than one log may have at once."""
        if self._shared is None:
            yield
            return
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await self._pool_limits[pool].acquire()
        try:
            yield
        finally:
            self._pool_limits[pool].release()

    @asynccontextmanager
    async def _noticing_outages(self) -> AsyncIterator[None]:
        """Report the success or failure of the block to `outages`; raise Overloaded where the database is unavailable."""
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
        """Find out why a pool could not connect, and report an outage of the database."""
        if self.outages.current is None:
            reason = await reason_away(self._conninfo, options=self._options["options"])
            if reason is not None:
                self.outages.begin(reason)

    async def drop_writer(self) -> None:
        """Close the connection that writes, as the outcome of its last statement is unknown."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._former_writer = self._name
            await writer.close()
            if self._shared is not None:
                self._shared.writer_slots.leave(self)

    @asynccontextmanager
    async def after_former_writer(self) -> AsyncIterator[AsyncConnection]:
        """Lend a new connection after the server has ended the session of the former writing connection, so that everything
        which that session wrote is visible.

        Raises:
            Overloaded: the database is unavailable or too slow, or that session does not end.
        """
        # Earlier connections of this kind may still wait for a standby, and nothing else would end them.
        name = f"executions look-up {self._identity}"
        async with self.fresh(application_name=name) as connection:
            cursor = await connection.execute(END, ([self._former_writer, name],))
            if any(not ended for (ended,) in await cursor.fetchall()):
                raise TimeoutError("the session of a former connection has not ended")
            yield connection

    @asynccontextmanager
    async def fresh(self, **options: Any) -> AsyncIterator[AsyncConnection]:
        """Lend a new connection in autocommit, to the present database of the log.

        Raises:
            Overloaded: the database is unavailable or too slow.
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
            self._writer_conninfo != self._conninfo or is_closed_by_server(self._writer)
        ):
            await self.drop_writer()
        if self._writer is None:
            self.session += 1
            self._writer_conninfo = self._conninfo
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
        """The unique `application_name` of the connection that writes."""
        return f"executions writer {self._identity} {self.session}"


async def _take_open_connection(pool: AsyncConnectionPool) -> AsyncConnection:
    # The pool's own check of a connection would wait a second after each closed one.
    while is_closed_by_server(connection := await pool.getconn()):
        await connection.close()
        await pool.putconn(connection)
    return connection
