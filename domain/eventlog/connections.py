"""The connections to the log's database: one that writes, and a pool of those that read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from domain.eventlog.sessions import session_options
from domain.eventlog.timeouts import available, cut_after, hung_up

# Nobody waits longer for a database that hangs: then the connection is cut.
CONNECTING, READING, WRITING = 3, 5, 5


class Connections:
    """Made again whenever they must be. `session` changes with the connection that writes."""

    def __init__(self, conninfo: str, schema: str, readers: int) -> None:
        self.session = 0
        self._conninfo = conninfo
        self._options: dict[str, Any] = {
            "connect_timeout": CONNECTING,
            "options": f"{session_options(schema)} -c lock_timeout=4s -c statement_timeout=5s",
        }
        self._writer: AsyncConnection | None = None
        self._pool = AsyncConnectionPool(
            conninfo,
            kwargs={**self._options, "autocommit": True},
            min_size=1,
            max_size=readers,
            timeout=CONNECTING,
            reconnect_timeout=0,
            open=False,
        )

    async def open(self) -> None:
        """Start the pool; it connects in the background, and again whenever it must."""
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection."""
        await self.drop_writer()
        await self._pool.close()

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[AsyncConnection]:
        """The one connection that writes; a transaction that is left open is rolled back.

        Raises:
            Overloaded: the database is away or too slow.
        """
        async with available():
            connection = await self._connect_writer()
            with cut_after(WRITING, connection):
                try:
                    yield connection
                finally:
                    if connection.info.transaction_status == TransactionStatus.INTRANS:
                        await connection.execute("ROLLBACK")

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        """A pooled connection in autocommit, for a few seconds.

        Raises:
            Overloaded: the database is away or too slow, or every connection is busy for too long.
        """
        async with available():
            connection = await self._living()
            try:
                with cut_after(READING, connection):
                    yield connection
            finally:
                await self._pool.putconn(connection)

    async def drop_writer(self) -> None:
        """Write through another connection next time: what became of this one's last is not known."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()

    async def _living(self) -> AsyncConnection:
        # The pool's own check of what it gives away would wait a second after each dead one.
        while hung_up(connection := await self._pool.getconn()):
            await connection.close()
            await self._pool.putconn(connection)
        return connection

    async def _connect_writer(self) -> AsyncConnection:
        if self._writer is not None and hung_up(self._writer):
            await self.drop_writer()
        if self._writer is None:
            self.session += 1
            self._writer = await AsyncConnection.connect(
                self._conninfo, autocommit=True, **self._options
            )
        return self._writer
