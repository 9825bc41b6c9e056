"""Reads from the read model which timers are due."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.execution.state import CHECKPOINT_LATE
from projections.timers.projection import NAMES
from projections.timers.timer import Timer

DUE = f"""SELECT {NAMES} FROM timers WHERE (due, execution) > (%b, %b) AND due <= %b
    ORDER BY due, execution LIMIT %b"""
FIRST = "SELECT min(due) FROM timers WHERE due > %b"
SURE = "least(retry_at, active_since + (timeout - worked) * interval '1 millisecond')"
"""SQL for the time at which a retry or a timeout is due. Checkpoints are left out: one is saved only if the execution has
had events since the last one, which the read model does not know."""
COMES = f"CASE WHEN due >= %b THEN due ELSE {SURE} END"
"""SQL for the time at which a timer will fire: `due`, unless that is a checkpoint that is too late (`Timer.next`)."""
LATE = f"SELECT count(*), min({SURE}) FROM timers WHERE due <= %b AND {SURE} <= %b"
NEXT = f"""SELECT {NAMES} FROM (SELECT *, {COMES} AS comes FROM timers WHERE due IS NOT NULL) AS due
    WHERE comes IS NOT NULL ORDER BY comes LIMIT %b"""


class LateTimers(NamedTuple):
    """The number of timers that are due, and the due time of the oldest."""

    number: int
    oldest: datetime | None

    def seconds(self, now: datetime) -> float:
        """Return how late the oldest timer is, in seconds."""
        return 0.0 if self.oldest is None else max(0.0, (now - self.oldest).total_seconds())


async def due(
    connection: AsyncConnection, after: tuple[datetime, str], until: datetime, limit: int
) -> list[Timer]:
    """Return timers that are due by `until`, the earliest first, beginning after a due time and an execution."""
    values = (*after, until, limit)
    cursor = await connection.execute(DUE, values, prepare=True, binary=True)
    return [Timer(*row) for row in await cursor.fetchall()]


async def next_due(connection: AsyncConnection, after: datetime) -> datetime | None:
    """Return the due time of the first timer after a time; None if there is none."""
    cursor = await connection.execute(FIRST, (after,), prepare=True, binary=True)
    row = await cursor.fetchone()
    assert row is not None
    at: datetime | None = row[0]
    return at


async def late(connection: AsyncConnection, now: datetime) -> LateTimers:
    """Return how many retries and timeouts are due and not fired yet, as far as the read model has followed the log."""
    cursor = await connection.execute(LATE, (now, now), binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return LateTimers(*row)


async def read_upcoming(connection: AsyncConnection, now: datetime, limit: int) -> list[Timer]:
    """Return the timers that fire next, the earliest first, including those that are late."""
    cursor = await connection.execute(NEXT, (now - CHECKPOINT_LATE, limit), binary=True)
    return [Timer(*row) for row in await cursor.fetchall()]
