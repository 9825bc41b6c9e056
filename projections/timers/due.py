"""Which timers are due, asked of the read model."""

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
"""When a retry or a timeout comes. A checkpoint comes only where something has happened, which the read model does not know."""
COMES = f"CASE WHEN due >= %b THEN due ELSE {SURE} END"
"""When a timer comes: `due`, unless that is of a checkpoint that comes no more (`Timer.next`)."""
LATE = f"SELECT count(*), min({SURE}) FROM timers WHERE due <= %b AND {SURE} <= %b"
NEXT = f"""SELECT {NAMES} FROM (SELECT *, {COMES} AS comes FROM timers WHERE due IS NOT NULL) AS due
    WHERE comes IS NOT NULL ORDER BY comes LIMIT %b"""


class LateTimers(NamedTuple):
    """How many timers are due, and since when the oldest of them is."""

    number: int
    oldest: datetime | None

    def seconds(self, now: datetime) -> float:
        """How late the oldest is."""
        return 0.0 if self.oldest is None else max(0.0, (now - self.oldest).total_seconds())


async def due(
    connection: AsyncConnection, after: tuple[datetime, str], until: datetime, limit: int
) -> list[Timer]:
    """The timers that are due until a time, the earliest first, from after one: when that is due, and the
    execution that it is of.
    """
    values = (*after, until, limit)
    cursor = await connection.execute(DUE, values, prepare=True, binary=True)
    return [Timer(*row) for row in await cursor.fetchall()]


async def next_due(connection: AsyncConnection, after: datetime) -> datetime | None:
    """When the first timer after a time is due; None where there is none."""
    cursor = await connection.execute(FIRST, (after,), prepare=True, binary=True)
    row = await cursor.fetchone()
    assert row is not None
    at: datetime | None = row[0]
    return at


async def late(connection: AsyncConnection, now: datetime) -> LateTimers:
    """The retries and timeouts that are due and were not fired, or of which the read model does not know yet that they were."""
    cursor = await connection.execute(LATE, (now, now), binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return LateTimers(*row)


async def read_upcoming(connection: AsyncConnection, now: datetime, limit: int) -> list[Timer]:
    """The timers that come next, the earliest first; those that are late come before them."""
    cursor = await connection.execute(NEXT, (now - CHECKPOINT_LATE, limit), binary=True)
    return [Timer(*row) for row in await cursor.fetchall()]
