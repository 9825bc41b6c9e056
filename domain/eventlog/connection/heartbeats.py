"""The time of the last heartbeat of each execution, in a table beside the log, as heartbeats are no events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from psycopg import AsyncConnection

from domain.eventlog.connection.pg_arrays import placeholders
from domain.eventlog.queries import HEARTBEAT_ARRAYS

Heartbeats = Mapping[str, datetime]
"""Times of heartbeats, by the ids of their executions."""
NO_HEARTBEATS: Heartbeats = {}
HEARTBEATS_WRITTEN = f"""SELECT 0 WHERE NOT EXISTS (SELECT FROM unnest({placeholders(HEARTBEAT_ARRAYS)}) AS sent (execution, at)
    LEFT JOIN heartbeats AS h USING (execution) WHERE h.at IS NULL OR h.at < sent.at)"""
LAST_HEARTBEATS = "SELECT execution, at FROM heartbeats WHERE execution = ANY(%b::text[])"


async def read_heartbeats(
    connection: AsyncConnection, executions: Iterable[str]
) -> dict[str, datetime]:
    """The times of the last heartbeats, by the ids of those executions that have had one."""
    cursor = await connection.execute(
        LAST_HEARTBEATS, (list(executions),), prepare=True, binary=True
    )
    return dict(await cursor.fetchall())
