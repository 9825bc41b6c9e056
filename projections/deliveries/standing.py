"""How the deliveries of all webhooks stand together, for operators."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

MOST_COUNTED = 100_000
TOTALS = f"""SELECT (SELECT count(*) FROM (SELECT FROM webhook_deliveries
            WHERE state = 'waiting' LIMIT {MOST_COUNTED}) AS found),
        (SELECT count(*) FROM webhook_progress WHERE failing_since IS NOT NULL)"""
# The first event that waits for each: found by the index, one webhook after the other.
OLDEST = """WITH RECURSIVE known (webhook) AS (
        (SELECT webhook FROM webhook_lanes ORDER BY webhook LIMIT 1)
        UNION ALL SELECT (SELECT l.webhook FROM webhook_lanes AS l
            WHERE l.webhook > known.webhook ORDER BY l.webhook LIMIT 1)
        FROM known WHERE known.webhook IS NOT NULL),
    waiting AS (SELECT known.webhook, (SELECT min(d.position) FROM webhook_deliveries AS d
            WHERE d.webhook = known.webhook AND d.state = 'waiting') AS position
        FROM known WHERE known.webhook IS NOT NULL)
    SELECT w.webhook, e.at FROM waiting AS w JOIN events AS e ON e.notification_id = w.position
    ORDER BY e.at LIMIT %b"""
FAILING = """SELECT webhook FROM webhook_progress WHERE failing_since IS NOT NULL
    ORDER BY failing_since LIMIT %b"""
WAITING = """SELECT count(*) FROM (SELECT FROM webhook_deliveries
    WHERE webhook = %b AND state = 'waiting' LIMIT 10000) AS found"""


class Standings(NamedTuple):
    """All together: how many events wait, up to `MOST_COUNTED`, how many webhooks fail, and for how many
    seconds the oldest event waits; and the same `lags` of some webhooks, those that wait for longest first.
    """

    waiting: int
    failing: int
    oldest: float
    lags: dict[str, float]


async def standings(connection: AsyncConnection, now: datetime, limit: int) -> Standings:
    """How they stand; `limit` is how many webhooks that wait are named, and how many that fail."""
    [(waiting, failing)] = await (await connection.execute(TOTALS)).fetchall()
    rows = await (await connection.execute(OLDEST, (limit,), binary=True)).fetchall()
    lags = {row[0]: max(0.0, (now - row[1]).total_seconds()) for row in rows}
    named = await (await connection.execute(FAILING, (limit,))).fetchall()
    oldest = max(lags.values(), default=0.0)
    return Standings(
        waiting, failing, oldest, {**lags, **{r[0]: lags.get(r[0], 0.0) for r in named}}
    )


async def waiting_for(connection: AsyncConnection, webhook: str) -> int:
    """How many events wait for a webhook, up to 10 000."""
    [(waiting,)] = await (await connection.execute(WAITING, (webhook,))).fetchall()
    return int(waiting)
