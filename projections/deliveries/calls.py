"""How far the calls of webhooks have come: what waits, what is due, and what came of the last call.

One process writes here, on the connection that holds its lock, so no statement of a former owner comes
after one of the next.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

TAKEN_AT_ONCE = 2_000
"""Positions of the log, at most."""

# Only what the read model has seen is taken; while it is made anew, it is behind, and nothing is.
TAKE = """WITH span AS (
        SELECT h.since, h.position AS after, least(h.position + %(most)s, b.position) AS until
        FROM webhook_head AS h JOIN bookmarks AS b ON b.view = 'deliveries'
        WHERE b.position > h.position),
    entered AS (
        INSERT INTO webhook_calls AS c (execution, webhook, endpoint, position, next_at)
        SELECT DISTINCT d.execution, d.webhook, w.endpoint, span.since, %(now)s::timestamptz
        FROM span JOIN deliveries AS d ON d.position > span.after AND d.position <= span.until
            JOIN webhooks AS w USING (execution, webhook)
        ON CONFLICT (execution, webhook) DO UPDATE
        SET endpoint = excluded.endpoint, next_at = coalesce(c.next_at, excluded.next_at)),
    moved AS (UPDATE webhook_head AS h SET position = span.until FROM span)
    SELECT until - after = %(most)s FROM span"""
DUE = """SELECT execution, webhook, endpoint FROM webhook_calls
    WHERE next_at <= %b AND NOT endpoint = ANY(%b::text[]) ORDER BY next_at LIMIT %b"""
SEEN = """(SELECT position FROM bookmarks WHERE view = 'deliveries')
    >= (SELECT position FROM webhook_head)"""
"""Whether the read model has all that was taken: not while it is made anew."""
OWED = """SELECT d.position, d.version FROM deliveries AS d
    WHERE d.execution = c.execution AND d.webhook = c.webhook AND d.position > c.position
    ORDER BY d.position LIMIT 1"""
NEXT = f"""SELECT c.endpoint, w.version, d.position, d.version, c.attempts, c.gone
    FROM webhook_calls AS c JOIN webhooks AS w USING (execution, webhook)
    CROSS JOIN LATERAL ({OWED}) AS d
    WHERE c.execution = %b AND c.webhook = %b AND {SEEN}"""
# Something may have been taken since it was found that nothing waits: then it stays due.
REST = f"""UPDATE webhook_calls AS c SET next_at = CASE
        WHEN NOT {SEEN} THEN %(later)s::timestamptz
        WHEN EXISTS ({OWED}) AND EXISTS (SELECT FROM webhooks AS w
            WHERE w.execution = c.execution AND w.webhook = c.webhook) THEN c.next_at END
    WHERE execution = %(execution)s AND webhook = %(webhook)s"""
DELIVERED = """UPDATE webhook_calls SET position = %(position)s, attempts = 0, next_at = %(now)s,
        failing_since = NULL, last_at = %(now)s, status = %(status)s, latency = %(latency)s,
        answer = %(answer)s, error = NULL
    WHERE execution = %(execution)s AND webhook = %(webhook)s"""
FAILED = """UPDATE webhook_calls SET attempts = attempts + 1, next_at = %(next_at)s,
        failing_since = coalesce(failing_since, %(now)s), last_at = %(now)s, status = %(status)s,
        latency = %(latency)s, answer = %(answer)s, error = %(error)s, gone = %(gone)s
    WHERE execution = %(execution)s AND webhook = %(webhook)s"""
GIVEN_UP = """UPDATE webhook_calls SET position = %(position)s, attempts = 0, next_at = %(now)s,
        given_up = given_up + 1
    WHERE execution = %(execution)s AND webhook = %(webhook)s"""


class Key(NamedTuple):
    """One webhook of one execution."""

    execution: str
    webhook: str


class Next(NamedTuple):
    """The event that a webhook is owed next. `hook_version` is that of the event that set the webhook."""

    endpoint: str
    hook_version: int
    position: int
    version: int
    attempts: int
    gone: int | None


class Outcome(NamedTuple):
    """What came of a call: the status (None where there was no answer), how many milliseconds it took,
    the first KiB of the answer, and why it counts as failed.
    """

    status: int | None
    latency: int
    answer: str = ""
    error: str | None = None


async def take(connection: AsyncConnection, now: datetime) -> bool:
    """Enter who is owed something new; whether there is more."""
    cursor = await connection.execute(TAKE, {"most": TAKEN_AT_ONCE, "now": now})
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def due(
    connection: AsyncConnection, now: datetime, without: list[str], limit: int
) -> list[tuple[Key, str]]:
    """The webhooks to call now and their endpoints, without those of some endpoints."""
    cursor = await connection.execute(DUE, (now, without, limit), binary=True)
    return [(Key(*row[:2]), row[2]) for row in await cursor.fetchall()]


async def next_of(connection: AsyncConnection, key: Key) -> Next | None:
    """The event that a webhook is owed next; None where there is none, or no such webhook any more."""
    cursor = await connection.execute(NEXT, key, binary=True)
    row = await cursor.fetchone()
    return None if row is None else Next(*row)


async def rest(connection: AsyncConnection, key: Key, later: datetime) -> None:
    """Nothing waits, it seems; where the read model is behind, look again later."""
    await connection.execute(REST, {**key._asdict(), "later": later})


async def keep_delivered(
    connection: AsyncConnection, key: Key, position: int, outcome: Outcome, now: datetime
) -> None:
    """An event was taken by its receiver."""
    values = {**key._asdict(), **outcome._asdict(), "position": position, "now": now}
    await connection.execute(DELIVERED, values)


async def keep_failed(
    connection: AsyncConnection,
    key: Key,
    outcome: Outcome,
    now: datetime,
    *,
    next_at: datetime,
    gone: int | None = None,
) -> None:
    """A call failed. `gone` is the version of a webhook whose receiver wants none any more."""
    values = {**key._asdict(), **outcome._asdict(), "now": now, "next_at": next_at, "gone": gone}
    await connection.execute(FAILED, values)


async def keep_given_up(
    connection: AsyncConnection, key: Key, position: int, now: datetime
) -> None:
    """An event is not sent any more; the next one is due."""
    await connection.execute(GIVEN_UP, {**key._asdict(), "position": position, "now": now})
