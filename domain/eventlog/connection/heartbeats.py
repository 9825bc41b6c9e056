"""When the last heartbeat of each execution came: kept beside the log, as heartbeats are no events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from psycopg import AsyncConnection

Signs = Mapping[str, datetime]
"""Times of heartbeats, by the ids of their executions."""
NO_SIGNS: Signs = {}
SIGN_WRITTEN = "SELECT 0 FROM heartbeats WHERE execution = %b AND at >= %b"
HEARD = "SELECT execution, at FROM heartbeats WHERE execution = ANY(%b::text[])"


async def heard(connection: AsyncConnection, executions: Iterable[str]) -> dict[str, datetime]:
    """When the last heartbeat of each execution came, where one ever did."""
    cursor = await connection.execute(HEARD, (list(executions),), prepare=True, binary=True)
    return dict(await cursor.fetchall())
