"""A log of plain events with its tree, and a superuser who makes forbidden changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from psycopg import AsyncConnection

from domain.eventlog.codec import EventRow
from domain.eventlog.sessions import session_options
from projections.audit.note import Signer, origin_of
from projections.audit.tables import TreeHead, head_of, migrate_audit
from workers.tree_builder import TreeBuilder

SCHEMA = "executions"
SECRET = b"k" * 32
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
APPEND = """INSERT INTO events (notification_id, originator_version, at, originator_id, topic, meta, state)
    SELECT p, (p - 1) %% 3 + 1, %(noon)s + p * interval '1 second', 'user/u-' || (p - 1) / 3, 'user.updated',
        '{"by":"t"}', convert_to('{"name":"User ' || p || '"}', 'UTF8')
    FROM generate_series(%(first)s::bigint, %(last)s) AS p"""
"""The event that `event` makes, for many positions."""


@dataclass
class AuditedLog:
    """The tree builder runs on demand."""

    conninfo: str
    connection: AsyncConnection
    builder: TreeBuilder

    @classmethod
    @asynccontextmanager
    async def opened(cls, conninfo: str) -> AsyncIterator[Self]:
        migrate_audit(conninfo, SCHEMA)
        options = session_options(SCHEMA)
        async with await AsyncConnection.connect(
            conninfo, autocommit=True, options=options
        ) as connection:
            yield cls(conninfo, connection, cls.new_builder(conninfo))

    @staticmethod
    def new_builder(conninfo: str, secret: bytes = SECRET) -> TreeBuilder:
        """A tree builder of another process."""
        return TreeBuilder(conninfo, SCHEMA, secret, lambda: NOON)

    async def append(self, number: int) -> None:
        """Append events, three in each stream."""
        [[after]] = await self.rows("SELECT position FROM head")
        last = event(after + number)
        values = {"noon": NOON, "first": after + 1, "last": last.position}
        await self.connection.execute(APPEND, values)
        await self.connection.execute(
            "UPDATE head SET position = %s, at = %s", (last.position, last.at)
        )

    async def grow(self, builder: TreeBuilder | None = None) -> TreeHead:
        """Bring the tree up to the log; returns its head."""
        while await (builder or self.builder).grow(self.connection):
            pass
        return await self.head()

    async def head(self) -> TreeHead:
        found = await head_of(self.connection)
        assert found is not None
        return found

    async def signer(self) -> Signer:
        """The signer of this log."""
        [[log_id]] = await self.rows("SELECT log_id FROM head")
        return Signer(SECRET, origin_of(log_id))

    async def rows(self, query: str) -> list[Any]:
        return await (await self.connection.execute(query.encode())).fetchall()

    async def tamper(self, statement: str) -> None:
        """Make a forbidden change."""
        async with self.connection.transaction():
            await self.connection.execute("ALTER TABLE events DISABLE TRIGGER append_only")
            await self.connection.execute(statement.encode())
            await self.connection.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER append_only")


def event(position: int) -> EventRow:
    stream, version = f"user/u-{(position - 1) // 3}", (position - 1) % 3 + 1
    at = NOON + timedelta(seconds=position)
    data = b'{"name":"User %d"}' % position
    return EventRow(position, version, at, stream, "user.updated", '{"by":"t"}', data)
