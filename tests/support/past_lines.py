"""Log lines of past days, and an archiver that moves them, at times that the test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from psycopg import AsyncConnection

from domain import registry
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.execution.commands.log import AppendLogLines, LogLine
from domain.execution.events.creation import ExecutionCreated
from domain.model import Command, Recorded
from domain.retention.hold import HoldPlaced, PlaceHold
from domain.writer.command_bus import Answer, Bus
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.engine.follower import Follower
from projections.engine.migrations import migrate_projections
from projections.engine.pages import LogPages
from projections.engine.projection import Projection
from projections.registry import all_projections
from tests.support.event_writer import new_store
from workers.archiver import Archiver, DayReport, LineRetention

SCHEMA = "executions"
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
"""Of the first day."""
DAY = timedelta(days=1)


@dataclass
class PastLines:
    """The log has one writer, whose clock the test moves; views follow on demand.

    The archiver writes by `work`, another store, as in a process of its own: a store has one writer.
    """

    conninfo: str
    store: Store
    work: Store
    connection: AsyncConnection
    folder: Path
    now: datetime = NOON

    def __post_init__(self) -> None:
        self.bus = Bus(self.store, lambda: self.now, str, lambda: 0.5)
        views: Sequence[Projection] = all_projections(registry.codec())
        self.followers = [Follower(view, LogPages(self.store, view.types)) for view in views]

    @classmethod
    @asynccontextmanager
    async def opened(cls, conninfo: str, folder: Path) -> AsyncIterator[Self]:
        """On a migrated database; the archive is a folder."""
        migrate_projections(conninfo, SCHEMA, all_projections(registry.codec()))
        store, work = new_store(conninfo), new_store(conninfo)
        await store.open()
        await work.open()
        options = session_options(SCHEMA)
        async with await AsyncConnection.connect(
            conninfo, autocommit=True, options=options
        ) as connection:
            made = cls(conninfo, store, work, connection, folder)
            made.bus.start()
            yield made
            await made.bus.stop()
        await work.close()
        await store.close()

    async def begin(self, *ids: str, **fields: str) -> None:
        """Create executions now."""
        named = {"order": "o", "service": "s", "customer": "c", "provider": "p"} | fields
        async with self.store.transaction() as transaction:
            rows = []
            for position, id_ in enumerate(ids, transaction.position + 1):
                stream = f"execution/{id_}"
                key = self.store.keyring.get_or_create(stream)
                event = ExecutionCreated.model_validate(named, strict=False)
                recorded = Recorded(stream, 1, position, self.now, event, "tester")
                recorded = recorded._replace(customer=event.customer, provider=event.provider)
                rows.append(self.store.codec.encode(recorded, key))
            await transaction.append(rows, [], self.now)

    async def send(self, stream: str, command: Command[Any]) -> Answer:
        """Send a command."""
        return await self.bus.send(Message(stream, command, "tester"))

    async def place(self, hold: PlaceHold, id_: str) -> None:
        """Create a legal hold, of existing or missing subjects."""
        event = HoldPlaced.model_validate(hold.model_dump(exclude_unset=True))
        async with self.store.transaction() as transaction:
            position = transaction.position + 1
            recorded = Recorded(f"hold/{id_}", 1, position, self.now, event, "tester")
            await transaction.append([self.store.codec.encode(recorded, None)], [], self.now)

    async def say(self, execution: str, *messages: str, **more: Any) -> None:
        """Append lines of an execution, recorded now."""
        lines = tuple(LogLine(level="info", message=message, **more) for message in messages)
        await self.send(f"execution/{execution}", AppendLogLines(lines=lines))

    async def make_days(self, days: int) -> None:
        """Create partitions of this many days from the first one on."""
        query = "SELECT make_log_day(%s::date + n) FROM generate_series(0, %s) AS n"
        await self.connection.execute(query, (NOON.date(), days - 1))

    async def follow(self) -> None:
        """Bring all views up to the log."""
        for follower in self.followers:
            while await follower.catch_up(self.connection):
                pass
            assert follower.parked == 0, await self.query("SELECT view, type, error FROM parked")

    @property
    def retention(self) -> LineRetention:
        """30 days, and then into the folder."""
        return LineRetention((self.folder / "archive").as_uri(), 30, self.folder / "work")

    def archiver(self, retention: LineRetention | None = None) -> Archiver:
        """An archiver with the same clock."""
        wanted = retention or self.retention
        writer = GuardedWriter(self.work, lambda: self.now, str, lambda: 0.5)
        return Archiver(writer, self.work, self.conninfo, SCHEMA, wanted, clock=lambda: self.now)

    async def archive(self, days_later: int = 40, **how: Any) -> list[DayReport]:
        """Archive as this many days later."""
        await self.follow()
        self.now += days_later * DAY
        return await self.archiver().archive(**how)

    async def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        cursor = await self.connection.execute(query.encode(), values or None)
        return list(await cursor.fetchall()) if cursor.description else []

    def files(self) -> list[str]:
        """The files of the archive."""
        root = self.folder / "archive"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
