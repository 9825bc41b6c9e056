"""Moves the events of past positions out of the table into the archive, range by range.

Of each range all events are written to a file, which is read back and compared with the table and with the tree, and
recorded in the log. Only then those of executions that have come to rest, and are on no hold, leave the table, in one transaction with the
rows that say where they are now. So readers see each event once, and a process that goes on after a crash begins with
the first step that was not done. Events of others stay in the table, too, as do those of an execution that goes on.
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
"""Of a range."""
EVERY = 600.0
"""Seconds between two looks."""
TAKE_OUT = """SELECT take_out_events(%(first)s, %(last)s, %(file)s, %(bytes)s, %(digest)s, %(blocks)s,
    %(streams)s, %(firsts)s::bigint[], %(lasts)s::bigint[], %(places)s::bytea[], %(owners)s::text[], %(begins)s::bigint[])"""
LOCK = "SELECT FROM head FOR UPDATE"
FAILURES = (ArchiveFailed, DomainError, LookupError, OSError, psycopg.Error)

log = structlog.get_logger()


@dataclass(slots=True)
class RangeReport:
    """What became of a range, or would: how many of its events have left the table with those of before of the same
    executions, how many executions holds have kept there, its file, and why it stays, or which holds these are.
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
    """Archives events that are old, one process at a time. Where no time is set it does nothing."""

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
        return (
            {}
            if self._retention.event_days is None
            else {"archive of events": self._archive_periodically}
        )

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
        """Archive the ranges that are due, the oldest first, up to one that has to stay; or say what would become of the
        next one. With `moves`, the archive may be at another place than before, if its files are there, too.

        Raises:
            TimeoutError: for so many seconds another process has been archiving.
            ArchiveFailed: the archive of this log is at another place.
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
                await self._report(connection, range_, report, dry_run=dry_run)
                if report.outcome != "archived":
                    break
        return reports

    async def _report(
        self, connection: AsyncConnection, range_: Range, report: RangeReport, *, dry_run: bool
    ) -> None:
        """Only the loss of the connection is raised."""
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
    """Take the events of these streams out of the table.

    Raises:
        NotRemoved: they are still there, as a hold was placed.
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
        # Last, and until the commit: who appends after it knows what has left the table.
        await connection.execute(LOCK)
        placed, _ = await is_placed_since(connection, position)
        if placed:
            raise NotRemoved("waiting", "a hold was placed meanwhile")
