"""Reads the totals of claims and lost leases, and the age of the oldest queued execution."""

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
    """The number of claims and of lost leases, and since when the longest waiting execution has been queued."""

    claimed: int
    lost: int
    queued_since: datetime | None


async def claim_totals(connection: AsyncConnection) -> ClaimTotals:
    """Return the metrics of claims for `/metrics`."""
    cursor = await connection.execute(TOTALS, binary=True)
    rows = await cursor.fetchall()
    return ClaimTotals(*rows[0])
