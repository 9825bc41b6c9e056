"""The access log of past days: reads are recorded, anchored and retired at times that the test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from pathlib import Path

from domain.access.retirements import STREAM, AccessRetired
from domain.eventlog.access.access_log import AccessLog
from domain.eventlog.access.entry import Access
from domain.writer.guarded_writer import GuardedWriter
from projections.audit.access.anchors import latest_anchor
from projections.audit.access.check import access_faults, end_of
from tests.support.past_lines import DAY, SCHEMA, PastLines
from workers.access_anchors import AccessAnchorer
from workers.access_retirement import AccessRetirer, RetiredDay

KEPT_DAYS = 30
FORGED = """WITH moved AS (UPDATE head SET position = position + 1 RETURNING position)
    INSERT INTO events SELECT position,
        1 + (SELECT count(*) FROM events WHERE originator_id = 'retirement/access-log'),
        %(at)s, 'retirement/access-log', 'access.retired', '{"by":"system"}', convert_to(jsonb_build_object(
            'day', %(day)s::date, 'first', %(first)s::int, 'last', %(last)s::int,
            'before', coalesce((SELECT encode(hash, 'hex') FROM access_log WHERE id = %(first)s - 1), ''),
            'hash', (SELECT encode(hash, 'hex') FROM access_log WHERE id = %(last)s))::text, 'UTF8')
    FROM moved"""
"""SQL by which a superuser records that some entries were retired, with the hashes in the table."""


class PastReads:
    """A log whose clock the test moves, and the workers that record, anchor and retire reads."""

    def __init__(self, past: PastLines) -> None:
        self.past = past
        writer = GuardedWriter(past.work, lambda: past.now, str, lambda: 0.5)
        of_log = past.work, past.conninfo, SCHEMA
        self.log = AccessLog(past.conninfo, SCHEMA, lambda: past.now)
        self.anchorer = AccessAnchorer(writer, *of_log, clock=lambda: past.now)
        self.retirer = AccessRetirer(writer, *of_log, KEPT_DAYS, clock=lambda: past.now)

    @staticmethod
    @asynccontextmanager
    async def opened(conninfo: str, folder: Path) -> AsyncIterator[PastReads]:
        async with PastLines.opened(conninfo, folder) as past:
            reads = PastReads(past)
            reads.log.start()
            try:
                yield reads
            finally:
                await reads.log.stop()

    async def read(self, *executions: str) -> None:
        """Record a read of each, now, a second apart."""
        for execution in executions:
            await self.log.record(Access("ann", "key-1", "readExecution", (execution,)))
            self.past.now += DAY / 86_400

    async def anchor(self) -> None:
        """Anchor all entries, as if the minute were over."""
        [(head,)] = await self.past.query("SELECT id FROM access_head")
        anchored = 0
        while anchored < head:
            self.anchorer._next_at = self.past.now
            await self.anchorer.anchor(self.past.connection)
            latest = await latest_anchor(self.past.connection)
            assert latest is not None
            anchored = latest.last

    async def days(self, *reads: str) -> None:
        """A partition, a read of each execution, and an anchor, day after day."""
        for executions in reads:
            await self.past.query("SELECT make_access_day(%s)", self.past.now.date())
            await self.read(*executions.split())
            await self.anchor()
            self.past.now = self.past.now.replace(hour=12, minute=0, second=0) + DAY

    async def retire(self, days_later: int = 40) -> list[RetiredDay]:
        """Retire days as this many days later; the outcome of each day with entries."""
        await self.past.follow()
        self.past.now += days_later * DAY
        found = await self.retirer.retire()
        return [each for each in found if each.entries or each.outcome != "retired"]

    async def faults(self) -> list[str]:
        """The faults that the check of the access log finds."""
        found = access_faults(
            self.past.connection, await end_of(self.past.connection), lambda *_: None
        )
        return [str(fault) async for fault in found]

    async def ids(self) -> list[int]:
        """The ids of the entries in the table."""
        return [row[0] for row in await self.past.query("SELECT id FROM access_log ORDER BY id")]

    async def retired(self) -> list[AccessRetired]:
        """The events that record retirements."""
        rows = await self.past.store.history(STREAM)
        events = [self.past.store.codec.decode(row, None).event for row in rows]
        return [event for event in events if isinstance(event, AccessRetired)]

    async def forge(self, at: datetime, *spans: tuple[date, int, int]) -> None:
        """Delete entries as a superuser, who records that they were retired: their day, the first and the last one."""
        for day, first, last in spans:
            values = {"at": at, "day": day, "first": first, "last": last}
            await self.past.connection.execute(FORGED, values)
        for _, first, last in spans:
            await self.change("DELETE FROM access_log WHERE id BETWEEN %s AND %s", first, last)

    async def change(self, statement: str, *values: object) -> None:
        """Change the database as a superuser, past the triggers."""
        await self.past.query("ALTER TABLE events DISABLE TRIGGER append_only")
        await self.past.query("SET session_replication_role = replica")
        await self.past.query(statement, *values)
        await self.past.query("RESET session_replication_role")
        await self.past.query("ALTER TABLE events ENABLE ALWAYS TRIGGER append_only")
