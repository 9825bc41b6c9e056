"""Removal of past days from a table: they are checked every hour, and dropped unless a legal hold keeps them.

No hold can be placed while a day is dropped. Readers and writers do not wait long for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from random import Random
from time import monotonic

import psycopg
import structlog
from psycopg import AsyncConnection

from domain.errors import DomainError
from domain.eventlog.archive.files import ArchiveFailed
from domain.eventlog.connection.timeouts import OUTAGES
from domain.eventlog.store import Store
from domain.supervisor import Background
from domain.writer.guarded_writer import GuardedWriter
from projections.log_lines.archive.holds import (
    BUSY,
    Checked,
    Holding,
    is_placed_since,
    lock_log,
)
from workers.connection_slots import ConnectionSlots

CHECK_INTERVAL, RETRY_INTERVAL = 3600.0, 30.0
"""Seconds between two checks of all past days, and of those that wait for something."""
SHORT_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '100ms'"
"""The time limit for the lock of a table: short, as later readers and writers wait behind it."""
SPREAD = Random()  # noqa: S311 - no secret
MOST_ATTEMPTS, LONGEST_PAUSE = 20, 2.0
"""Tries to drop a day, each of which needs a moment when no other connection uses the table or the log, and the longest
pause, in seconds, between two tries.
"""
CheckDays = Callable[[Collection[date] | None], Awaitable[Collection[date]]]
"""A function that checks some days, or all past days, and returns those that wait for something."""

FAILURES = (ArchiveFailed, DomainError, LookupError, OSError, psycopg.Error)

log = structlog.get_logger()


@dataclass(slots=True)
class DayOutcome:
    """The outcome of a day, also of a dry run, and why it stays."""

    day: date
    outcome: str = "due"
    reason: str = ""


class RetentionWorker(Background):
    """Deletes old rows from a table, one process at a time."""

    outages = OUTAGES
    slots: ConnectionSlots | None = None
    """The slots for the connections of the work of all logs; None where the process works for one log."""

    def __init__(
        self,
        writer: GuardedWriter,
        store: Store,
        conninfo: str,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._writer = writer
        self._store = store
        self._conninfo = conninfo
        self._clock = clock


class NotRemoved(Exception):
    """A day, or a range of events, is not removed. `outcome`: `waiting` if it is checked again soon, or another word."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(outcome, reason)
        self.outcome = outcome
        self.reason = reason


@contextmanager
def reporting(report: DayOutcome, connection: AsyncConnection, failure: str) -> Iterator[None]:
    """Report why a day stays, where the block does not remove it. Only the loss of the connection is raised."""
    try:
        yield
    except NotRemoved as error:
        report.outcome, report.reason = error.outcome, error.reason
    except BUSY:
        report.outcome, report.reason = "waiting", "others were using the table or the log"
    except FAILURES as error:
        if connection.broken:
            raise
        report.outcome, report.reason = "failed", str(error)
        log.error(failure, day=str(report.day), reason=str(error))


def require_no_hold(checked: Checked) -> None:
    """Check that no hold keeps a day, or may keep it. Raises NotRemoved."""
    require_known(checked)
    if checked.holds:
        raise NotRemoved("on hold", describe_holds(checked.holds))


def require_known(checked: Checked) -> None:
    """Check that it is known what holds keep. Raises NotRemoved."""
    if checked.unknown:
        raise NotRemoved("waiting", checked.unknown)


def describe_holds(holds: Sequence[Holding]) -> str:
    """A text with the holds, and the number of executions that each keeps."""
    return ", ".join(f"{each.hold} (executions: {each.executions})" for each in holds)


async def check_periodically(check: CheckDays) -> None:
    """Check all days every hour, and those that wait every `RETRY_INTERVAL` seconds in between, until cancelled."""
    while True:
        due = monotonic() + CHECK_INTERVAL
        waiting = await check(None)
        while waiting and monotonic() < due:
            await asyncio.sleep(RETRY_INTERVAL)
            waiting = await check(waiting)
        await asyncio.sleep(max(RETRY_INTERVAL, due - monotonic()))


async def drop_unless_held(
    connection: AsyncConnection, position: int, drop: Callable[[], Awaitable[None]]
) -> None:
    """Drop a day at a moment when no other connection writes, unless a hold was placed after a position.

    Some writers lock the log before the table, others after it, so waiting for both locks could be a deadlock: this waits for
    the table, tries the lock of the log, and releases both where that is taken.

    Raises:
        NotRemoved: a hold was placed.
        LockNotAvailable: there was no such moment in `MOST_ATTEMPTS` tries.
    """
    # Most of the new events are searched for holds here, while others may write.
    position = await _require_no_new_hold(connection, position)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        try:
            async with connection.transaction():
                await connection.execute(SHORT_LOCK_TIMEOUT)
                await drop()
                await lock_log(connection)
                await _require_no_new_hold(connection, position)
            return
        except BUSY:
            if attempt == MOST_ATTEMPTS:
                raise
            await asyncio.sleep(SPREAD.uniform(0, LONGEST_PAUSE))


async def _require_no_new_hold(connection: AsyncConnection, position: int) -> int:
    """Check that no hold was placed after a position; return the head of the log. Raises NotRemoved."""
    placed, head = await is_placed_since(connection, position)
    if placed:
        raise NotRemoved("waiting", "a hold was placed meanwhile")
    return head
