"""Reads from the read model which timers are due."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from psycopg import AsyncConnection

from domain.execution.state import CHECKPOINT_LATE
from projections.timers.projection import NAMES
from projections.timers.timer import Kind, Timer

Kinds = Literal["deadlines", "checkpoints"]
"""Deadlines are retries and timeouts: an event moves each one that fires. An automatic checkpoint that has nothing to save stays
due."""
_DUE = """SELECT execution, {due}, {kind} FROM timers WHERE ({due}, execution) > (%b, %b) AND {due} <= %b
    ORDER BY {due}, execution LIMIT %b"""
DUE: dict[Kinds, str] = {
    "deadlines": _DUE.format(
        due="due", kind="CASE WHEN retry_at IS NULL THEN 'timeout' ELSE 'retry' END"
    ),
    "checkpoints": _DUE.format(due="checkpoint_due", kind="'checkpoint'"),
}
FIRST = """SELECT (SELECT min(due) FROM timers WHERE due > %b),
    (SELECT min(checkpoint_due) FROM timers WHERE checkpoint_due > %b)"""
LATE = "SELECT count(*), min(due) FROM timers WHERE due <= %b"
NEXT = f"""SELECT {NAMES} FROM (SELECT *, least(due, CASE WHEN checkpoint_due >= %b THEN checkpoint_due END) AS next
    FROM timers) AS timers WHERE next IS NOT NULL ORDER BY next LIMIT %b"""


class DueTimer(NamedTuple):
    """A timer that is due: of which execution, since when, and what for."""

    execution: str
    at: datetime
    kind: Kind


class LateTimers(NamedTuple):
    """The number of timers that are due, and the due time of the oldest."""

    number: int
    oldest: datetime | None

    def seconds(self, now: datetime) -> float:
        """Return how late the oldest timer is, in seconds."""
        return 0.0 if self.oldest is None else max(0.0, (now - self.oldest).total_seconds())


async def read_due(
    connection: AsyncConnection,
    kinds: Kinds,
    after: tuple[datetime, str],
    until: datetime,
    limit: int,
) -> list[DueTimer]:
    """Return timers that are due by `until`, the earliest first, beginning after a due time and an execution."""
    values = (*after, until, limit)
    cursor = await connection.execute(DUE[kinds], values, prepare=True, binary=True)
    return [DueTimer(*row) for row in await cursor.fetchall()]


async def next_due(
    connection: AsyncConnection, after: datetime
) -> tuple[datetime | None, datetime | None]:
    """Return when the first retry or timeout, and the first checkpoint, is due after a time; None for each if there is none."""
    cursor = await connection.execute(FIRST, (after, after), prepare=True, binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]


async def late(connection: AsyncConnection, now: datetime) -> LateTimers:
    """Return how many retries and timeouts are due and not fired yet, as far as the read model has followed the log."""
    cursor = await connection.execute(LATE, (now,), binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return LateTimers(*row)


async def read_upcoming(connection: AsyncConnection, now: datetime, limit: int) -> list[Timer]:
    """Return the timers that fire next, the earliest first, including those that are late."""
    cursor = await connection.execute(NEXT, (now - CHECKPOINT_LATE, limit), binary=True)
    return [Timer(*row) for row in await cursor.fetchall()]
