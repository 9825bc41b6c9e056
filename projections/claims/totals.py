"""Totals of claims and lost leases, and the age of the oldest queued execution."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

TOTALS = """SELECT
    coalesce((SELECT total FROM claim_totals WHERE what = 'claimed'), 0),
    coalesce((SELECT total FROM claim_totals WHERE what = 'lost'), 0),
    (SELECT min(first.since) FROM generate_series(0, 3) AS ranks (rank) CROSS JOIN LATERAL (
        SELECT since FROM claims WHERE status = 'queued' AND claims.rank = ranks.rank
        ORDER BY created LIMIT 1) AS first)"""


class ClaimTotals(NamedTuple):
    """How many claims and lost leases there were, and since when the first of the queue waits."""

    claimed: int
    lost: int
    queued_since: datetime | None


async def claim_totals(connection: AsyncConnection) -> ClaimTotals:
    """The metrics of claims for `/metrics`."""
    cursor = await connection.execute(TOTALS, binary=True)
    rows = await cursor.fetchall()
    return ClaimTotals(*rows[0])
