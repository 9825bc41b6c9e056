"""How many events wait for all webhooks together, and which of them fail, for operators."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

MOST_COUNTED = 100_000
FAILED = """webhook_progress AS p JOIN webhooks AS w USING (webhook)
    LEFT JOIN webhook_states AS s USING (webhook)
    WHERE (p.failing_since IS NOT NULL OR p.fault IS NOT NULL)
        AND (s.disabled_at IS NULL OR s.disabled_at < w.position)"""
"""One that is disabled, or was removed, is not called any more: it does not fail."""
BEHIND = """webhook_progress AS p JOIN webhooks AS w USING (webhook) WHERE p.position IS NOT NULL"""
"""Those that read events of the past: they were rewound, or are new, or could not be served for a while."""
TOTALS = f"""SELECT (SELECT count(*) FROM (SELECT FROM webhook_deliveries
            WHERE state = 'waiting' LIMIT {MOST_COUNTED}) AS found),
        (SELECT count(*) FROM {FAILED}), (SELECT count(*) FROM {BEHIND})"""
# The first event that waits for each: found by the index, one webhook after the other.
OLDEST = """WITH RECURSIVE known (webhook) AS (
        (SELECT webhook FROM webhook_lanes ORDER BY webhook LIMIT 1)
        UNION ALL SELECT (SELECT l.webhook FROM webhook_lanes AS l
            WHERE l.webhook > known.webhook ORDER BY l.webhook LIMIT 1)
        FROM known WHERE known.webhook IS NOT NULL),
    waiting AS (SELECT known.webhook, (SELECT min(d.position) FROM webhook_deliveries AS d
            WHERE d.webhook = known.webhook AND d.state = 'waiting') AS position
        FROM known WHERE known.webhook IS NOT NULL)
    SELECT w.webhook, coalesce(e.at, (SELECT a.last_at FROM event_archives AS a
        WHERE a.first <= w.position AND a.last >= w.position)) AS at
    FROM waiting AS w LEFT JOIN events AS e ON e.notification_id = w.position
    WHERE w.position IS NOT NULL ORDER BY at LIMIT %b"""
"""An event that is archived counts as the last one of its file."""
FAILING = f"SELECT webhook FROM {FAILED} ORDER BY p.failing_since LIMIT %b"
READING = f"SELECT webhook FROM {BEHIND} ORDER BY webhook LIMIT %b"
WAITING = f"""SELECT w.webhook, (SELECT count(*) FROM (SELECT FROM webhook_deliveries AS d
        WHERE d.webhook = w.webhook AND d.state = 'waiting' LIMIT {MOST_COUNTED}) AS found)
    FROM unnest(%b::text[]) AS w (webhook)"""


class DeliveryTotals(NamedTuple):
    """How many events wait, up to `MOST_COUNTED`, how many webhooks fail or wait for what cannot be read, and for how many seconds the
    oldest event has waited. `behind`: how many webhooks read events of the past, of which more may come to wait. `lags` are the
    seconds for some of the webhooks, the longest first.
    """

    waiting: int
    failing: int
    behind: int
    oldest: float
    lags: dict[str, float]


async def delivery_totals(connection: AsyncConnection, now: datetime, limit: int) -> DeliveryTotals:
    """The totals, with the lags of at most `limit` webhooks for which events wait, as many that fail, and as many that are
    behind.
    """
    [(waiting, failing, behind)] = await (await connection.execute(TOTALS)).fetchall()
    rows = await (await connection.execute(OLDEST, (limit,), binary=True)).fetchall()
    lags = {row[0]: max(0.0, (now - row[1]).total_seconds()) for row in rows}
    oldest = max(lags.values(), default=0.0)
    for query in (FAILING, READING):
        for (webhook,) in await (await connection.execute(query, (limit,))).fetchall():
            lags.setdefault(webhook, 0.0)
    return DeliveryTotals(waiting, failing, behind, oldest, lags)


async def waiting_for(connection: AsyncConnection, webhooks: Iterable[str]) -> dict[str, int]:
    """How many events wait for each of some webhooks, up to `MOST_COUNTED`."""
    return dict(
        await (await connection.execute(WAITING, (list(webhooks),), binary=True)).fetchall()
    )
