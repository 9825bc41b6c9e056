"""Which timers are due, asked of the read model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.pg_arrays import columns, placeholders
from projections.timers.projection import NAMES
from projections.timers.timer import Timer

DUE = f"SELECT {NAMES} FROM timers WHERE due <= %b ORDER BY due LIMIT %b"
PLACE = """SELECT head.position, coalesce((SELECT position FROM bookmarks WHERE view = 'timers'), 0)
    FROM head"""
MOVED = ("text", "timestamptz", "timestamptz")
POSTPONE = f"""UPDATE timers SET due = moved.due
    FROM unnest({placeholders(MOVED)}) AS moved (execution, before, due)
    WHERE timers.execution = moved.execution AND timers.due = moved.before"""
LATE = "SELECT count(*), min(due) FROM timers WHERE due <= %b"


class Place(NamedTuple):
    """The position of the log, and that of the read model of the timers."""

    head: int
    position: int

    @property
    def lag(self) -> int:
        """How many events the read model is behind."""
        return self.head - self.position


async def place(connection: AsyncConnection) -> Place:
    """How far the read model is."""
    cursor = await connection.execute(PLACE, binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return Place(*row)


async def due(connection: AsyncConnection, at: datetime, limit: int) -> list[Timer]:
    """The timers that are due at a time, the earliest first."""
    cursor = await connection.execute(DUE, (at, limit), prepare=True, binary=True)
    return [Timer(*row) for row in await cursor.fetchall()]


async def postpone(
    connection: AsyncConnection, moves: Sequence[tuple[str, datetime, datetime | None]]
) -> None:
    """Make timers due later, or not at all: (execution, as it is due, as it will be).

    One that an event has moved meanwhile stays as it is.
    """
    if moves:
        await connection.execute(POSTPONE, columns(MOVED, moves), prepare=True)


async def late(connection: AsyncConnection, at: datetime) -> tuple[int, datetime | None]:
    """How many timers were due before a time, and since when the first of them."""
    cursor = await connection.execute(LATE, (at,), binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]
