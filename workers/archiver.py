"""Moves the log lines of past days from the table into the archive, and makes partitions for the next days.

The lines of a day are written to files; each file is read back, compared with the table, and recorded in the event log. Then
the lines are deleted from the table, in one transaction with the rows that name their files. So readers see each line once,
and after a crash the next process continues with the first step that was not done. A legal hold keeps a day up to its
deletion: no hold can be placed during the deletion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
from psycopg import AsyncConnection

from domain.access.retirements import DEFAULT_DAYS
from domain.eventlog.archive.files import ArchiveFailed, ArchiveFiles, is_installed
from domain.eventlog.setup.log_lines import MAKE_DAYS
from domain.eventlog.store import Store
from domain.retention.archived_day import ArchivedDay, ArchiveFile, ArchiveLogs
from domain.supervisor import Tasks
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.log_lines.archive import days as table
from projections.log_lines.archive.days import Changed, Day
from projections.log_lines.archive.export import Exporter, WrittenFile
from projections.log_lines.archive.holds import BUSY, Checked, holds_of
from projections.log_lines.archive.location import settle_location
from workers.day_retention import (
    SHORT_LOCK_TIMEOUT,
    DayOutcome,
    NotRemoved,
    RetentionWorker,
    check_periodically,
    drop_unless_held,
    reporting,
    require_no_hold,
)
from workers.ownership import ownership

ACTOR = "system"
AT_LENGTH = "SET statement_timeout = '30min'; SET idle_in_transaction_session_timeout = '30min'"
"""The time limits of the connection of the owner, which reads whole days, and waits for files."""
FAILURE = "log lines cannot be archived"

log = structlog.get_logger()


@dataclass(slots=True)
class DayReport(DayOutcome):
    """The outcome of a day, also of a dry run: its lines, its files, the holds that keep it, or why it stays."""

    lines: int = 0
    files: list[str] = field(default_factory=list)
    bytes: int = 0
    holds: dict[str, int] = field(default_factory=dict)
    """The number of executions that each hold keeps."""


@dataclass(frozen=True, slots=True)
class LineRetention:
    """The retention settings: the URL of the archive, a folder for files that are being written, and for how many days log
    lines stay in their table, entries of the access log are kept, and events stay in their table.
    """

    url: str
    days: int
    work: Path
    access_days: int = DEFAULT_DAYS
    event_days: int | None = None
    """None: events are never archived."""

    def first_retained_day(self, now: datetime) -> date:
        """The first day that stays in the table."""
        return now.date() - timedelta(days=self.days)


class Archiver(RetentionWorker):
    """Archives the log lines of past days, one process at a time."""

    def __init__(
        self,
        writer: GuardedWriter,
        store: Store,
        conninfo: str,
        schema: str,
        retention: LineRetention,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(writer, store, conninfo, clock=clock)
        self._schema = schema
        self._retention = retention
        self._files = ArchiveFiles(retention.url)
        self._exporter = Exporter(conninfo, schema, self._files, retention.work)

    def tasks(self) -> Tasks:
        return {"archive": self._archive_periodically}

    async def _archive_periodically(self) -> None:
        if not is_installed():
            log.warning("log lines are not archived", reason="executions[archive] is not installed")
        await check_periodically(self._archive_past)

    async def _archive_past(self, days: Collection[date] | None) -> set[date]:
        try:
            reports = await self.archive(days, moves=True, counts=False)
        except ArchiveFailed as error:
            log.error("log lines cannot be archived", reason=str(error))
            return set()
        return {report.day for report in reports if report.outcome == "waiting"}

    async def archive(
        self,
        days: Collection[date] | None = None,
        *,
        dry_run: bool = False,
        moves: bool = False,
        counts: bool = True,
        patience: float | None = None,
    ) -> list[DayReport]:
        """Archive all past days, or some of them, the oldest first; with `dry_run` only report the outcomes.

        Without `counts`, the lines of days that stay are not counted. With `moves`, the archive may have another location than
        before, if its files are there, too.

        Raises:
            TimeoutError: another process has been archiving for `patience` seconds.
            ArchiveFailed: the archive of this log has another location.
        """
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(patience):
                connection = await stack.enter_async_context(
                    ownership(
                        self._conninfo, self._schema, "archive", self.slots and self.slots.slow
                    )
                )
            await connection.execute(AT_LENGTH)
            now = self._clock()
            if not dry_run:
                await asyncio.to_thread(self._exporter.clean_up)
                await self._make_days(connection, now.date())
            await settle_location(connection, self._files, moves=moves, dry_run=dry_run)
            past = await table.days_before(connection, self._retention.first_retained_day(now))
            if not (dry_run or is_installed()):
                return []
            return [
                await self._report(connection, day, dry_run=dry_run, counts=counts)
                for day in past
                if days is None or day.day in days
            ]

    async def _make_days(self, connection: AsyncConnection, today: date) -> None:
        """Make the partitions of the next week, and drop the table of an earlier build once it is empty."""
        try:
            async with connection.transaction():
                await connection.execute(SHORT_LOCK_TIMEOUT)
                await connection.execute(MAKE_DAYS, (today,))
                await table.drop_former(connection)
        except BUSY:
            log.info("partitions are made later", reason="others were using the table")

    async def _report(
        self, connection: AsyncConnection, day: Day, *, dry_run: bool, counts: bool
    ) -> DayReport:
        report = DayReport(day.day)
        with reporting(report, connection, FAILURE):
            checked = await holds_of(connection, self._store, day)
            report.holds = {each.hold: each.executions for each in checked.holds}
            require_no_hold(checked)
            if not dry_run:
                await self._move(connection, day, checked, report)
        if counts and report.outcome != "archived":
            with reporting(report, connection, FAILURE):
                report.lines = await table.count_lines(connection, day)
        return report

    async def _move(
        self, connection: AsyncConnection, day: Day, checked: Checked, report: DayReport
    ) -> None:
        try:
            files = await self._write_files(connection, day)
        finally:
            await asyncio.to_thread(self._exporter.clean_up)
        await self._take_out(connection, day, files, checked)
        report.outcome = "archived"
        report.lines = sum(file.lines for file in files)
        report.files = [file.file for file in files]
        report.bytes = sum(file.bytes for file in files)
        if report.lines:
            log.info("log lines archived", day=str(day.day), lines=report.lines, bytes=report.bytes)

    async def _write_files(self, connection: AsyncConnection, day: Day) -> list[ArchiveFile]:
        """Write all lines of a day in the table to files, and record each file in the event log; return the files. While a
        file is put into the archive, the next one is written.
        """
        versioned = await self._store.load(_stream(day))
        state: ArchivedDay | None = versioned and versioned.state
        live = await table.live_files(connection, day)
        recorded = (
            {file.first: file for file in state.files if file.file not in live} if state else {}
        )
        files: list[ArchiveFile] = []
        written: WrittenFile | None = None  # the last file, which is not in the archive yet
        after = 0
        while (first := await table.next_line(connection, day, after)) is not None:
            file = recorded.get(first)
            if file is None or not await asyncio.to_thread(self._exporter.has_lines, day, file):
                adding = asyncio.create_task(self._add_to_archive(written))
                try:
                    written = await asyncio.to_thread(self._exporter.write, day, after)
                finally:
                    files += await adding
                after = written.part.last
            else:
                files += [*await self._add_to_archive(written), file]
                written = None
                after = file.last
        return files + await self._add_to_archive(written)

    async def _add_to_archive(self, written: WrittenFile | None) -> list[ArchiveFile]:
        """Put a file into the archive, if there is one, and record it in the event log; return it in a list."""
        if written is None:
            return []
        file = await asyncio.to_thread(self._exporter.store, written)
        record = ArchiveLogs(**vars(file))
        await self._writer.send(Message(_stream(written.day), record, ACTOR, correlation="archive"))
        return [file]

    async def _take_out(
        self, connection: AsyncConnection, day: Day, files: list[ArchiveFile], checked: Checked
    ) -> None:
        """Delete the lines of a day from the table.

        Raises:
            NotRemoved: they were not deleted, as a hold was placed, or a line was added.
        """
        try:
            async with connection.transaction():
                await table.store_files(connection, day, files, self._clock())
                drop = partial(table.drop, connection, day)
                await drop_unless_held(connection, checked.position, drop)
        except Changed:
            raise NotRemoved("waiting", "a line was added meanwhile") from None


def _stream(day: Day) -> str:
    return f"archive/{day.day}"
