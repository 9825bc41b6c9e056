"""An access log with entries and anchors, which a superuser may change past the triggers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from psycopg import AsyncConnection

from domain.eventlog.access.access_log import AccessLog
from domain.eventlog.access.entry import Access
from domain.eventlog.migrations import migrate_log
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.writer.guarded_writer import GuardedWriter
from projections.audit.access.check import access_faults, end_of
from tests.support.event_writer import opened
from workers import access_anchors
from workers.access_anchors import AccessAnchorer

BEGIN = datetime(2026, 11, 28, 12, tzinfo=UTC)


class AccessChain:
    """An access log with a clock, a recorder and an anchoring worker of its own."""

    def __init__(self, conninfo: str, store: Store, connection: AsyncConnection) -> None:
        self.now = BEGIN
        self.conninfo = conninfo
        self.connection = connection
        self.store = store
        self.log = AccessLog(conninfo, "executions", lambda: self.now)
        writer = GuardedWriter(store, lambda: self.now, lambda kind: f"{kind}-1", lambda: 0.5)
        self.anchorer = AccessAnchorer(
            writer, store, conninfo, "executions", clock=lambda: self.now
        )

    @staticmethod
    @asynccontextmanager
    async def opened(conninfo: str) -> AsyncIterator[AccessChain]:
        migrate_log(conninfo, "executions")
        connecting = AsyncConnection.connect(
            conninfo, autocommit=True, options=session_options("executions")
        )
        async with opened(conninfo) as store, await connecting as connection:
            chain = AccessChain(conninfo, store, connection)
            chain.log.start()
            try:
                yield chain
            finally:
                await chain.log.stop()

    async def read(self, number: int, execution: str = "e-1", **more: str) -> None:
        """Record this many reads, one after the other, a second apart."""
        for _ in range(number):
            self.now += timedelta(seconds=1)
            await self.log.record(Access("ann", "key-1", "readExecution", (execution,), **more))

    async def read_together(self, number: int) -> None:
        access = Access("ann", "key-1", "readExecution", ("e-1",))
        await asyncio.gather(*(self.log.record(access) for _ in range(number)))

    async def anchor(self) -> bool:
        """Anchor the new entries, a minute later."""
        self.now += access_anchors.EVERY
        return await self.anchorer.anchor(self.connection)

    async def faults(self) -> list[str]:
        """The faults that the check finds."""
        end = await end_of(self.connection)
        found = access_faults(self.connection, end, lambda *_: None)
        return [str(fault) async for fault in found]

    async def change(self, statement: str) -> None:
        """Change the database as a superuser, past the triggers."""
        await self.connection.execute("SET session_replication_role = replica")
        await self.connection.execute(statement.encode())
        await self.connection.execute("RESET session_replication_role")
