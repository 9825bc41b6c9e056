"""How days that are past leave a table: they are looked at every hour, and dropped unless a legal hold keeps them.

No hold can be placed while a day leaves. Readers and writers do not wait long for it.
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
    keep_log_as_it_is,
    placed_since,
)
from workers.turns import Turns

EVERY, AGAIN = 3600.0, 30.0
"""Seconds between two looks at all days that are past, and at those that wait for something."""
SHORT_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '100ms'"
"""To wait for the table: all that come later, writers too, wait behind."""
SPREAD = Random()  # noqa: S311 - no secret
TRIES, PAUSE = 20, 2.0
"""How often it tries to drop a day while no other connection uses the table or the log, and at most how many seconds lie
between two tries.
"""
Look = Callable[[Collection[date] | None], Awaitable[Collection[date]]]
"""Looks at some days, or at all that are past; the days that wait for something."""


FAILURES = (ArchiveFailed, DomainError, LookupError, OSError, psycopg.Error)

log = structlog.get_logger()


@dataclass(slots=True)
class PastDay:
    """What became of a day, or would, and why it stays."""

    day: date
    outcome: str = "due"
    reason: str = ""


class Retirer(Background):
    """Takes out of a table what is old, one process at a time."""

    outages = OUTAGES
    turns: Turns | None = None
    """How it takes turns with the work of other logs, if there are any."""

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


class Stays(Exception):
    """A day stays: the outcome (`waiting`: it is looked at again soon), and why."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(outcome, reason)
        self.outcome = outcome
        self.reason = reason


@contextmanager
def reporting(report: PastDay, connection: AsyncConnection, failure: str) -> Iterator[None]:
    """Report why a day stays, if the block does not get it to leave. Only the loss of the connection is raised."""
    try:
        yield
    except Stays as stays:
        report.outcome, report.reason = stays.outcome, stays.reason
    except BUSY:
        report.outcome, report.reason = "waiting", "others were using the table or the log"
    except FAILURES as error:
        if connection.broken:
            raise
        report.outcome, report.reason = "failed", str(error)
        log.error(failure, day=str(report.day), reason=str(error))


def require_no_hold(checked: Checked) -> None:
    """Raises Stays where a hold keeps a day, or may keep it."""
    require_known(checked)
    if checked.holds:
        raise Stays("on hold", named(checked.holds))


def require_known(checked: Checked) -> None:
    """Raises Stays where what holds keep cannot be said yet."""
    if checked.unknown:
        raise Stays("waiting", checked.unknown)


def named(holds: Sequence[Holding]) -> str:
    """Holds, and how many executions each keeps."""
    return ", ".join(f"{each.hold} (executions: {each.executions})" for each in holds)


async def look_often(look: Look) -> None:
    """Look at all days every hour, and meanwhile, twice a minute, at those that wait, until cancelled."""
    while True:
        due = monotonic() + EVERY
        waiting = await look(None)
        while waiting and monotonic() < due:
            await asyncio.sleep(AGAIN)
            waiting = await look(waiting)
        await asyncio.sleep(max(AGAIN, due - monotonic()))


async def drop_unless_held(
    connection: AsyncConnection, position: int, drop: Callable[[], Awaitable[None]]
) -> None:
    """Drop a day at a moment when no other connection writes, unless a hold was placed after a position.

    Writers lock the log before the table or after it, so to wait for both could wait for ever: this
    waits for the table, tries the log, and lets go of both where it is busy.

    Raises:
        Stays: a hold was placed.
        LockNotAvailable: there was no such moment.
    """
    # Most of what was recorded meanwhile is looked through now, while others may write.
    position = await _unless_held(connection, position)
    for tried in range(1, TRIES + 1):
        try:
            async with connection.transaction():
                await connection.execute(SHORT_LOCK_TIMEOUT)
                await drop()
                await keep_log_as_it_is(connection)
                await _unless_held(connection, position)
            return
        except BUSY:
            if tried == TRIES:
                raise
            await asyncio.sleep(SPREAD.uniform(0, PAUSE))


async def _unless_held(connection: AsyncConnection, position: int) -> int:
    """The head of the log, if no hold was placed after a position."""
    placed, head = await placed_since(connection, position)
    if placed:
        raise Stays("waiting", "a hold was placed meanwhile")
    return head
