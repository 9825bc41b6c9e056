"""Deletes the days of the access log that need not be kept any longer, the oldest first.

First an event (`access.retired`) records the entries of a day, and the hashes with which the chain continues. Then the
partition is dropped, after a crash by the next process. Up to the drop a legal hold keeps the day. A day also stays if it was
anchored less than 30 days ago, or has a fault, as changed entries must not be deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial

import structlog
from psycopg import AsyncConnection

from domain.access.retirements import LEAST_DAYS, STREAM, AccessRetirements, RetireAccesses
from domain.errors import Overloaded
from domain.eventlog.access.days import RETIRE_DAY
from domain.eventlog.store import Store
from domain.retention.hold import HoldPlaced
from domain.supervisor import Tasks
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message, Unless
from projections.audit.access.anchors import anchor_of
from projections.audit.access.check import faults_between
from projections.audit.access.retired import days_of_access, entries_of, hash_before
from projections.audit.access.segments import hashes_between
from projections.log_lines.archive.days import Day
from projections.log_lines.archive.holds import OF_READS, holds_of
from workers.day_retention import (
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
AT_LENGTH = "SET statement_timeout = '30min'"
"""The time limit of the connection of the owner, which reads whole days."""
ANCHORED_LATE = f"it was anchored less than {LEAST_DAYS} days ago"

log = structlog.get_logger()


@dataclass(slots=True)
class RetiredDay(DayOutcome):
    """The outcome of a day: how many entries were deleted, or why they stay."""

    entries: int = 0


class AccessRetirer(RetentionWorker):
    """Retires the days that are older than so many days, one process at a time."""

    def __init__(
        self,
        writer: GuardedWriter,
        store: Store,
        conninfo: str,
        schema: str,
        days: int,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(writer, store, conninfo, clock=clock)
        self._schema = schema
        self._days = timedelta(days=days)

    def tasks(self) -> Tasks:
        return {"access retirement": partial(check_periodically, self._retire_past)}

    async def _retire_past(self, days: Collection[date] | None) -> set[date]:
        return {each.day for each in await self.retire(days) if each.outcome == "waiting"}

    async def retire(self, days: Collection[date] | None = None) -> list[RetiredDay]:
        """Retire all old days, or some of them; return the outcome of each."""
        async with ownership(
            self._conninfo, self._schema, "access retirement", self.slots and self.slots.slow
        ) as connection:
            await connection.execute(AT_LENGTH)
            past = await days_of_access(connection, self._clock().date() - self._days)
            return [
                await self._retire_and_report(connection, day)
                for day in past
                if days is None or day in days
            ]

    async def _retire_and_report(self, connection: AsyncConnection, day: date) -> RetiredDay:
        report = RetiredDay(day)
        with reporting(report, connection, "the access log of a day stays"):
            report.entries = await self._retire(connection, Day(day, ""))
            report.outcome = "retired"
        if report.entries:
            log.info("entries of the access log retired", day=str(day), entries=report.entries)
        return report

    async def _retire(self, connection: AsyncConnection, day: Day) -> int:
        """Retire a day; return the number of its entries.

        Raises:
            NotRemoved: the day may not be deleted yet.
        """
        span = await entries_of(connection, day.bounds)
        checked = await holds_of(connection, self._store, day, OF_READS)
        require_no_hold(checked)
        if span is not None and not await self._is_recorded(*span):
            anchor = await anchor_of(connection, span[1])
            if anchor is None:
                raise NotRemoved("waiting", "not all of it is anchored yet")
            if (self._clock().date() - anchor.at.date()).days < LEAST_DAYS:
                raise NotRemoved("too new", ANCHORED_LATE)
            await self._record(connection, day.day, span, checked.position)
        await drop_unless_held(connection, checked.position, partial(_drop, connection, day.day))
        return 0 if span is None else span[1] - span[0] + 1

    async def _is_recorded(self, first: int, last: int) -> bool:
        """Whether an event has retired these entries already: a process was interrupted before the drop, or a hold kept the day."""
        versioned = await self._store.load(STREAM)
        state: AccessRetirements | None = versioned and versioned.state
        return state is not None and state.has(first, last)

    async def _record(
        self, connection: AsyncConnection, day: date, span: tuple[int, int], position: int
    ) -> None:
        """Record the retirement of a day, unless a hold was placed after a position.

        Raises:
            LookupError: the entries have a fault.
            NotRemoved: a hold was placed, or the database is unavailable.
        """
        first, last = span
        before = await hash_before(connection, first)
        async for fault in faults_between(connection, first, last, before):
            raise LookupError(str(fault))
        [hashed] = await hashes_between(connection, last - 1, last)
        command = RetireAccesses(
            day=day, first=first, last=last, before=before.hex(), hash=hashed.hex()
        )
        unless = Unless(HoldPlaced.type, position)
        message = Message(STREAM, command, ACTOR, correlation="access-log", unless=unless)
        try:
            await self._writer.send(message)
        except Overloaded as error:
            raise NotRemoved("waiting", str(error)) from error


async def _drop(connection: AsyncConnection, day: date) -> None:
    await connection.execute(RETIRE_DAY, (day,))
