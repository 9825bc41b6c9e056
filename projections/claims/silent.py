"""Finds executions that may have been silent for too long, from the read model and the heartbeats."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import AsyncConnection

# `due` counts from the last change of status. Other signs of life, events of the work, are only in the log, so the
# caller checks the state of each execution that is found.
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
    """An execution that may have been silent since its last change of status. `due` is the time at which that is too
    long ago, `heard_at` the time of its last heartbeat, and `allowed` the milliseconds that it may be silent.
    """

    due: datetime
    execution: str
    heard_at: datetime | None
    allowed: int

    @property
    def sort_key(self) -> tuple[datetime, str]:
        """The sort values of the execution among those that are found."""
        return self.due, self.execution

    def silent_at(self, sign: datetime) -> datetime:
        """Return the time at which the execution is silent for too long after a last sign of life at `sign`."""
        return sign + self.allowed * MILLISECOND


async def silent(
    connection: AsyncConnection, after: tuple[datetime, str], now: datetime, limit: int
) -> list[SilentExecution]:
    """Return executions, after a sort key, that may have been silent for too long by `now`; the earliest due first."""
    values = (*after, now, limit)
    cursor = await connection.execute(DUE, values, prepare=True, binary=True)
    return [SilentExecution(*row) for row in await cursor.fetchall()]


async def silent_of(
    connection: AsyncConnection, executions: Sequence[str], now: datetime
) -> list[SilentExecution]:
    """Return those of these executions that may have been silent for too long by `now`."""
    values = (list(executions), now)
    cursor = await connection.execute(OF_THESE, values, prepare=True, binary=True)
    return [SilentExecution(*row) for row in await cursor.fetchall()]


async def next_silent(connection: AsyncConnection, after: datetime) -> datetime | None:
    """Return the first time after `after` at which an execution may have been silent for too long; None if none will."""
    row = await (await connection.execute(FIRST, (after,), prepare=True, binary=True)).fetchone()
    assert row is not None
    at: datetime | None = row[0]
    return at


async def forget_ended(connection: AsyncConnection, before: datetime) -> None:
    """Delete the heartbeats, from before a time, of executions that have ended for good."""
    await connection.execute(CLEAN, (before,))
