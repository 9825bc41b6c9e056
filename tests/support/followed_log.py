"""A log with one writer, whose clock the test moves, and one projection that follows it on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from psycopg import AsyncConnection

from domain import registry
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import ExecutionStarted, ExecutionStarting
from domain.model import Command, Recorded
from domain.writer.command_bus import Bus
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.engine.follower import Follower
from projections.engine.migrations import migrate_projections
from projections.engine.pages import LogPages
from projections.engine.projection import Projection

SCHEMA = "executions"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class FollowedLog:
    """The writer records commands at `now`; `follow` brings the projection up to the log."""

    store: Store
    connection: AsyncConnection
    view: Projection
    now: datetime = NOON

    def __post_init__(self) -> None:
        self.bus = Bus(self.store, lambda: self.now, str, lambda: 0.5)
        self.guarded_writer = GuardedWriter(self.store, lambda: self.now, str, lambda: 0.5)
        self.follower = Follower(self.view, LogPages(self.store, self.view.types))

    @classmethod
    @asynccontextmanager
    async def opened(cls, conninfo: str, view: Projection) -> AsyncIterator[Self]:
        """A log on a database without the tables of the projection."""
        migrate_projections(conninfo, SCHEMA, [view])
        store = Store(conninfo, SCHEMA, registry.codec(), Keyring(Vault(b"k" * 32)))
        await store.open()
        options = session_options(SCHEMA)
        async with await AsyncConnection.connect(
            conninfo, autocommit=True, options=options
        ) as connection:
            made = cls(store, connection, view)
            made.bus.start()
            yield made
            await made.bus.stop()
        await store.close()

    async def begin(self, *ids: str, occurred_at: datetime | None = None, **fields: Any) -> None:
        """Start executions: three events each, recorded now."""
        created = ExecutionCreated(order="o", service="s", customer="c", provider="p", **fields)
        events = (created, ExecutionStarting(), ExecutionStarted())
        async with self.store.transaction() as transaction:
            position, rows = transaction.position, []
            for id_ in ids:
                stream = f"execution/{id_}"
                key = self.store.keyring.get_or_create(stream)
                for version, event in enumerate(events, 1):
                    position += 1
                    recorded = Recorded(
                        stream,
                        version,
                        position,
                        self.now,
                        event,
                        "tester",
                        customer="c",
                        provider="p",
                        occurred_at=occurred_at,
                    )
                    rows.append(self.store.codec.encode(recorded, key))
            await transaction.append(rows, [], self.now)

    async def send(self, id_: str, command: Command[Any]) -> None:
        """Send a command."""
        await self.bus.send(Message(f"execution/{id_}", command, "tester"))

    async def follow(self) -> None:
        """Bring the projection up to the log."""
        while await self.follower.catch_up(self.connection):
            pass
        assert self.follower.parked == 0
