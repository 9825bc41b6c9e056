"""Moves old events from their table into the archive, range by range.

All events of a range are written to a file, which is read back, compared with the table and the tree, and recorded in the log.
Then the events of executions at rest that no hold keeps are deleted from the table, in one transaction with the rows that name
the file. So readers see each event once, and after a crash the next process continues with the first step that was not done.
The events of active executions, and of other aggregates, stay in the table, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
import structlog
from psycopg import AsyncConnection

from domain.errors import DomainError
from domain.eventlog.archive.blocks import encode_positions
from domain.eventlog.archive.files import ArchiveFailed, ArchiveFiles, is_installed
from domain.eventlog.store import Store
from domain.retention.archived_range import ArchiveEvents
from domain.supervisor import Tasks
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.audit.tables import tiles_of_tree
from projections.log_lines.archive.holds import is_placed_since
from projections.log_lines.archive.location import settle_location
from workers.archiver import ACTOR, AT_LENGTH, LineRetention
from workers.day_retention import NotRemoved, RetentionWorker, describe_holds
from workers.event_archive.conditions import (
    Leaving,
    Quiet,
    Range,
    leaving,
    next_range,
    quiet_streams,
    require_read,
)
from workers.event_archive.range_file import RangeFile, tiles_under, write
from workers.ownership import ownership

EVENTS = 65_536
"""Events of a range."""
EVERY = 600.0
"""Seconds between two checks whether a range is due."""
TAKE_OUT = """SELECT take_out_events(%(first)s, %(last)s, %(file)s, %(bytes)s, %(digest)s, %(blocks)s,
    %(streams)s, %(firsts)s::bigint[], %(lasts)s::bigint[], %(places)s::bytea[], %(owners)s::text[], %(begins)s::bigint[])"""
LOCK = "SELECT FROM head FOR UPDATE"
FAILURES = (ArchiveFailed, DomainError, LookupError, OSError, psycopg.Error)

log = structlog.get_logger()


@dataclass(slots=True)
class RangeReport:
    """The outcome of a range, also of a dry run.

    `taken`: the number of events that are deleted from the table, with earlier ones of the same executions; `kept`: the number
    of executions that holds keep in the table; `reason`: why the range stays, or which holds keep executions.
    """

    first: int
    last: int
    outcome: str = "due"
    reason: str = ""
    taken: int = 0
    kept: int = 0
    file: str = ""
    bytes: int = 0


class EventArchiver(RetentionWorker):
    """Archives old events, one process at a time. It does nothing where `event_days` is not set."""

    def __init__(
        self,
        writer: GuardedWriter,
        store: Store,
        conninfo: str,
        retention: LineRetention,
        *,
        clock: Callable[[], datetime],
        events: int = EVENTS,
    ) -> None:
        super().__init__(writer, store, conninfo, clock=clock)
        self._retention = retention
        self._events = events
        self._files = ArchiveFiles(retention.url)

    def tasks(self) -> Tasks:
        if self._retention.event_days is None:
            return {}
        return {"archive of events": self._archive_periodically}

    async def _archive_periodically(self) -> None:
        if not is_installed():
            log.warning("events are not archived", reason="executions[archive] is not installed")
            return
        while True:
            try:
                await self.archive(moves=True)
            except ArchiveFailed as error:
                log.error("events cannot be archived", reason=str(error))
            await asyncio.sleep(EVERY)

    async def archive(
        self, *, dry_run: bool = False, moves: bool = False, patience: float | None = None
    ) -> list[RangeReport]:
        """Archive the ranges that are due, the oldest first, up to one that has to stay; with `dry_run` only report the outcome
        of the next one. With `moves`, the archive may have another location than before, if its files are there, too.

        Raises:
            TimeoutError: another process has been archiving for `patience` seconds.
            ArchiveFailed: the archive of this log has another location.
        """
        reports: list[RangeReport] = []
        if self._retention.event_days is None:
            return reports
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(patience):
                slot = self.slots and self.slots.slow
                owned = ownership(self._conninfo, self._store.schema, "archive of events", slot)
                connection = await stack.enter_async_context(owned)
            await connection.execute(AT_LENGTH)
            await settle_location(connection, self._files, moves=moves, dry_run=dry_run)
            before = self._clock() - timedelta(days=self._retention.event_days)
            while (range_ := await next_range(connection, self._events, before)) is not None:
                report = RangeReport(*range_)
                reports.append(report)
                await self._archive_range(connection, range_, report, dry_run=dry_run)
                if report.outcome != "archived":
                    break
        return reports

    async def _archive_range(
        self, connection: AsyncConnection, range_: Range, report: RangeReport, *, dry_run: bool
    ) -> None:
        """Archive a range, and put the outcome into the report. Only the loss of the connection is raised."""
        try:
            await require_read(connection, range_)
            quiet = await quiet_streams(connection, range_)
            found = await leaving(connection, range_, quiet)
            report.taken = sum(len(stream.positions) for stream in found.streams)
            report.kept = len(quiet) - len(found.streams)
            report.reason = f"kept by {describe_holds(found.holds)}" if found.holds else ""
            if not dry_run:
                await self._move(connection, range_, found, report)
        except NotRemoved as error:
            report.outcome, report.reason = error.outcome, error.reason
        except FAILURES as error:
            if connection.broken:
                raise
            report.outcome, report.reason = "failed", str(error)
            log.error("events cannot be archived", first=range_.first, reason=str(error))

    async def _move(
        self,
        connection: AsyncConnection,
        range_: Range,
        found: Leaving,
        report: RangeReport,
    ) -> None:
        written = await self._write_file(connection, range_)
        command = ArchiveEvents(**vars(written.file))
        stream = f"range/{range_.first}"
        await self._writer.send(Message(stream, command, ACTOR, correlation="archive"))
        await take_out(connection, written, found.streams, found.position)
        report.outcome, report.file, report.bytes = (
            "archived",
            written.file.file,
            written.file.bytes,
        )
        log.info("events archived", first=range_.first, last=range_.last, bytes=report.bytes)

    async def _write_file(self, connection: AsyncConnection, range_: Range) -> RangeFile:
        rows = await self._store.span(connection, range_.first - 1, range_.last)
        if len(rows) != range_.last - range_.first + 1:
            raise LookupError(f"events {range_.first} to {range_.last} are not all in the table")
        signed = await tiles_of_tree(connection, tiles_under(*range_))
        return await asyncio.to_thread(write, self._files, rows, signed)


async def take_out(
    connection: AsyncConnection,
    written: RangeFile,
    streams: Sequence[Quiet],
    position: int,
) -> None:
    """Delete the events of these streams from the table.

    Raises:
        NotRemoved: they were not deleted, as a hold was placed.
    """
    values = {
        **vars(written.file),
        "blocks": written.blocks,
        "streams": [stream.stream for stream in streams],
        "firsts": [stream.first for stream in streams],
        "lasts": [stream.last for stream in streams],
        "begins": [stream.positions[0] for stream in streams],
        "owners": [stream.parties for stream in streams],
        "places": [encode_positions(stream.positions) for stream in streams],
    }
    async with connection.transaction():
        await connection.execute(TAKE_OUT, values)
        # The lock comes last, and is held until the commit: a later append sees which events have left the table.
        await connection.execute(LOCK)
        placed, _ = await is_placed_since(connection, position)
        if placed:
            raise NotRemoved("waiting", "a hold was placed meanwhile")
