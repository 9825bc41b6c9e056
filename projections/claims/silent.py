"""Finds executions that may have been silent for too long, by read model and heartbeats."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import AsyncConnection

# `due` counts from the last change of status. Events of the work are in the log alone, so the caller looks at the
# states of these.
FOUND = """SELECT c.due, c.execution, h.at, least(c.lease, c.silence)
    FROM claims AS c LEFT JOIN heartbeats AS h USING (execution)"""
DUE = f"""{FOUND} WHERE (c.due, c.execution) > (%b, %b) AND c.due <= %b
    ORDER BY c.due, c.execution LIMIT %b"""
OF_THESE = f"{FOUND} WHERE c.execution = ANY(%b::text[]) AND c.due <= %b"
FIRST = "SELECT min(due) FROM claims WHERE due > %b"
CLEAN = """DELETE FROM heartbeats AS h WHERE h.at < %b
    AND NOT EXISTS (SELECT FROM claims AS c WHERE c.execution = h.execution)"""
MILLISECOND = timedelta(milliseconds=1)


class SilentExecution(NamedTuple):
    """An execution from which nothing may have come since its last change of status: when that is too long
    ago, when its last heartbeat came, if ever, and for how many milliseconds it may be silent.
    """

    due: datetime
    execution: str
    heard_at: datetime | None
    allowed: int

    @property
    def sort_key(self) -> tuple[datetime, str]:
        """What these are ordered by."""
        return self.due, self.execution

    def silent_at(self, sign: datetime) -> datetime:
        """When it will have been silent for too long, if its last sign of life was at a time."""
        return sign + self.allowed * MILLISECOND


async def silent(
    connection: AsyncConnection, after: tuple[datetime, str], now: datetime, limit: int
) -> list[SilentExecution]:
    """The executions after a sort key whose leases or silences may be over, the longest first."""
    values = (*after, now, limit)
    cursor = await connection.execute(DUE, values, prepare=True, binary=True)
    return [SilentExecution(*row) for row in await cursor.fetchall()]


async def silent_of(
    connection: AsyncConnection, executions: Sequence[str], now: datetime
) -> list[SilentExecution]:
    """Those of some executions whose leases or silences may be over."""
    values = (list(executions), now)
    cursor = await connection.execute(OF_THESE, values, prepare=True, binary=True)
    return [SilentExecution(*row) for row in await cursor.fetchall()]


async def next_silent(connection: AsyncConnection, after: datetime) -> datetime | None:
    """When the first lease or silence after a time may be over; None where there is none."""
    row = await (await connection.execute(FIRST, (after,), prepare=True, binary=True)).fetchone()
    assert row is not None
    at: datetime | None = row[0]
    return at


async def forget_ended(connection: AsyncConnection, before: datetime) -> None:
    """Drop the heartbeats from before a time of executions that do not go on."""
    await connection.execute(CLEAN, (before,))
