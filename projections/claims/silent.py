"""Queries for executions that may have been silent for too long, by read model and heartbeats."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

# `due` counts from the last change of status. Events of the work are in the log alone, so the caller looks at the
# states of these.
SILENT = """SELECT c.execution, h.at FROM claims AS c LEFT JOIN heartbeats AS h USING (execution)
    WHERE c.due <= %b AND (h.at IS NULL OR h.at + least(c.lease, c.silence)
        * interval '1 millisecond' <= %b)
    ORDER BY c.due LIMIT %b"""
CLEAN = """DELETE FROM heartbeats AS h WHERE h.at < %b
    AND NOT EXISTS (SELECT FROM claims AS c WHERE c.execution = h.execution)"""


class Silent(NamedTuple):
    """An execution, and when its last heartbeat came, if ever."""

    execution: str
    heard_at: datetime | None


async def silent(connection: AsyncConnection, now: datetime, limit: int) -> list[Silent]:
    """The executions whose leases or silences may be over, the longest first."""
    cursor = await connection.execute(SILENT, (now, now, limit), prepare=True, binary=True)
    return [Silent(*row) for row in await cursor.fetchall()]


async def forget_ended(connection: AsyncConnection, before: datetime) -> None:
    """Drop the heartbeats from before a time of executions that do not go on."""
    await connection.execute(CLEAN, (before,))
