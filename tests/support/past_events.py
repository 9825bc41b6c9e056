"""A log with its views and its tree, and an archiver of events, with small ranges, at times that the test chooses."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from domain.eventlog.archive import archived_queries
from domain.eventlog.archive.files import ArchiveFiles
from domain.eventlog.codec import EventRow
from domain.eventlog.store import Store
from domain.execution.commands import (
    CompleteExecution,
    CompleteStep,
    PauseExecution,
    StartExecution,
    StartStep,
)
from domain.execution.types import ExecutionResult
from domain.retention.archived_range import ArchiveEvents
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.audit.leaf import leaf_bytes
from projections.audit.merkle import leaf_hash
from projections.audit.tables import migrate_audit
from projections.audit.tiles import Tree
from projections.log_lines.archive.location import STORE_LOCATION
from tests.support.past_lines import DAY, SCHEMA, PastLines
from workers.archiver import LineRetention
from workers.event_archive.archiver import EventArchiver, RangeReport, take_out
from workers.event_archive.conditions import Range, quiet_streams
from workers.event_archive.range_file import write
from workers.tree_builder import TreeBuilder

SECRET = b"k" * 32
EVENTS = 8
"""The number of events in a range."""
LATER = 400 * DAY
BY_POSITION = """SELECT notification_id, originator_version, at, originator_id, topic, meta, state FROM events
    ORDER BY notification_id"""


async def archive_first(
    store: Store, connection: AsyncConnection, writer: GuardedWriter, folder: Path, events: int
) -> None:
    """Archive the first events of a log at once, whether all readers have passed them or not."""
    rows, place = await store.read(0, events), (folder / "archive").as_uri()
    signed = Tree().append([leaf_hash(leaf_bytes(row)) for row in rows])
    written = write(ArchiveFiles(place), rows, signed)
    command = ArchiveEvents(**vars(written.file))
    await writer.send(Message("range/1", command, "tester"))
    await connection.execute(STORE_LOCATION, (place,))
    streams = await quiet_streams(connection, Range(1, events))
    await take_out(connection, written, streams, (await store.head())[0])
    assert streams


class PastEvents(PastLines):
    """As `PastLines`; each command takes a second."""

    async def run(self, execution: str, steps: int = 2) -> None:
        """An execution from its beginning to its end, with sealed content."""
        stream = f"execution/{execution}"
        await self.begin(execution)
        await self.tick(stream, StartExecution())
        for number in range(steps):
            await self.tick(
                stream, StartStep(step=f"s-{number}", name="Search", input={"n": number})
            )
            await self.tick(stream, CompleteStep(step=f"s-{number}", output={"found": number}))
        result = ExecutionResult(success=True, output={"sent": steps}, summary="Sent.")
        await self.tick(stream, CompleteExecution(**vars(result)))

    async def pause(self, execution: str) -> None:
        """An execution that waits."""
        await self.begin(execution)
        await self.tick(f"execution/{execution}", StartExecution())
        await self.tick(f"execution/{execution}", PauseExecution(reason="lunch"))

    async def tick(self, stream: str, command: Any) -> Any:
        self.now += timedelta(seconds=1)
        return await self.send(stream, command)

    async def grow(self) -> None:
        """Bring the views and the tree up to the log."""
        migrate_audit(self.conninfo, SCHEMA)
        await self.follow()
        # No webhooks are called here.
        await self.query("UPDATE webhook_head SET position = (SELECT position FROM head)")
        builder = TreeBuilder(self.conninfo, SCHEMA, SECRET, lambda: self.now)
        while await builder.grow(self.connection):
            pass

    def event_archiver(
        self, retention: LineRetention | None = None, events: int = EVENTS
    ) -> EventArchiver:
        """An archiver with the same clock, of events older than a year."""
        wanted = retention or replace(self.retention, event_days=365)
        writer = GuardedWriter(self.work, lambda: self.now, str, lambda: 0.5)
        return EventArchiver(
            writer, self.work, self.conninfo, wanted, clock=lambda: self.now, events=events
        )

    async def archive_events(self, events: int = EVENTS, **how: Any) -> list[RangeReport]:
        """Archive as a year and more later."""
        await self.grow()
        self.now += LATER
        return await self.event_archiver(events=events).archive(**how)

    async def rows(self) -> list[EventRow]:
        """The events in the table."""
        return [EventRow(*row) for row in await self.query(BY_POSITION)]

    async def all_events(self, known: list[EventRow]) -> list[EventRow]:
        """This many events from the first one on, after checking that the history of each stream has the same."""
        for stream in {row.stream for row in known}:
            history = await self.store.history(stream)
            assert history == [row for row in known if row.stream == stream]
        return await self.store.read(0, len(known))

    async def horizon(self) -> int:
        """The last position that is in files."""
        return await archived_queries.read_horizon(self.connection)
