"""Requests of clients about deliveries: list them, send some again, rewind.

A transaction that enters something holds the row `webhook_head`, as the process that calls does (see `queue`), and wakes
that process.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.json_forms import format_time
from projections.deliveries.queue import Owed, enter
from projections.deliveries.queue_queries import LOCK
from projections.engine.channels import WAKE
from projections.representations.cloudevents import source

VIEW = "deliveries"
FIND = """SELECT w.execution, coalesce(s.disabled_at > w.position, false)
    FROM webhooks AS w LEFT JOIN webhook_states AS s USING (webhook) WHERE w.webhook = %b"""
OF_LOG = """SELECT webhook FROM webhooks WHERE execution IS NULL AND webhook > %b
        AND (%b::text IS NULL OR maker = %b) ORDER BY webhook LIMIT %b"""
STATES = ("waiting", "delivered", "failed")
PAGE = """SELECT position, stream, version, state, attempts, at, status, latency, answer, error
    FROM webhook_deliveries WHERE webhook = %b AND position < %b
        AND (%b::text IS NULL OR state = %b) ORDER BY position DESC LIMIT %b"""
NEWEST = 2**62
ONE = """SELECT d.position, d.stream, d.version, w.endpoint FROM webhook_deliveries AS d
    JOIN webhooks AS w USING (webhook) WHERE d.webhook = %b AND d.position = %b"""
FAILED = """SELECT d.position, d.stream, d.version, w.endpoint FROM webhook_deliveries AS d
    JOIN webhooks AS w USING (webhook)
    WHERE d.webhook = %b AND d.state = 'failed' AND d.at >= %b
    ORDER BY d.position LIMIT %b"""
MOST_AT_ONCE = 10_000
AGAIN = """UPDATE webhook_lanes SET next_at = %b WHERE webhook = %b AND stream = ANY(%b::text[])"""
DROP = """DELETE FROM webhook_deliveries
    WHERE webhook = %b AND position > %b AND state = 'waiting'"""
DROP_LANES = "DELETE FROM webhook_lanes WHERE webhook = %b"
REWIND = """INSERT INTO webhook_progress AS p (webhook, position, rewinds) VALUES (%b, %b, 1)
    ON CONFLICT (webhook) DO UPDATE SET position = least(p.position, excluded.position),
        rewinds = p.rewinds + 1, answer = NULL"""
"""One that is behind already stays there, so nothing is passed over. What waits is dropped, and the last answer with it, as
an erasure finds answers by their deliveries.
"""
STORE_LANES = """INSERT INTO webhook_lanes (webhook, stream, endpoint, next_at)
    SELECT DISTINCT d.webhook, d.stream, w.endpoint, %b::timestamptz FROM webhook_deliveries AS d
        JOIN webhooks AS w USING (webhook) WHERE d.webhook = %b AND d.state = 'waiting'
    ON CONFLICT DO NOTHING"""


class KnownHook(NamedTuple):
    """A webhook as the read model knows it: the `execution` that it belongs to, or None, and whether it is disabled."""

    execution: str | None
    disabled: bool


class Delivery(NamedTuple):
    """An event that a webhook was owed, and what came of the last call."""

    position: int
    stream: str
    version: int
    state: str
    attempts: int
    at: datetime | None
    status: int | None
    latency: int | None
    answer: str | None
    error: str | None

    def document(self, *, erased: bool = False, log: str | None = None) -> dict[str, Any]:
        """As clients see it; what is not known is left out, and so is the answer where the content of the
        event was `erased`. `log` is the name of the log.
        """
        shown = {
            "position": self.position,
            "source": source(self.stream, log),
            "version": self.version,
            "state": self.state,
            "attempts": self.attempts,
            "lastAt": self.at and format_time(self.at),
            "lastStatus": self.status,
            "lastLatency": self.latency,
            "lastAnswer": None if erased else self.answer or None,
            "lastError": self.error,
            "erased": erased or None,
        }
        return {name: value for name, value in shown.items() if value is not None}


async def find(connection: AsyncConnection, webhook: str) -> KnownHook | None:
    """A webhook, as far as the read model knows it."""
    row = await (await connection.execute(FIND, (webhook,), binary=True)).fetchone()
    return None if row is None else KnownHook(*row)


async def of_log(
    connection: AsyncConnection, after: str, limit: int, maker: str | None = None
) -> list[str]:
    """The webhooks of the whole log after one, in the order of their ids; those of a maker, or all."""
    cursor = await connection.execute(OF_LOG, (after, maker, maker, limit))
    return [row[0] for row in await cursor.fetchall()]


async def page(
    connection: AsyncConnection, webhook: str, before: int | None, state: str | None, limit: int
) -> list[Delivery]:
    """The newest deliveries of a webhook before a position, those in one state or all."""
    values = (webhook, before or NEWEST, state, state, limit)
    cursor = await connection.execute(PAGE, values, binary=True)
    return [Delivery(*row) for row in await cursor.fetchall()]


async def redeliver(
    connection: AsyncConnection, webhook: str, position: int, now: datetime
) -> bool:
    """Have one event sent again; whether there is such a delivery."""
    async with connection.transaction():
        return bool(await _again(connection, webhook, ONE, (webhook, position), now))


async def redeliver_failed(
    connection: AsyncConnection, webhook: str, since: datetime, now: datetime
) -> int:
    """Have those sent again that were given up since a time, so many at most; how many these are."""
    async with connection.transaction():
        return await _again(connection, webhook, FAILED, (webhook, since, MOST_AT_ONCE), now)


async def rewind(connection: AsyncConnection, webhook: str, position: int, now: datetime) -> None:
    """Have a webhook get everything after a position, again or for the first time. The process that calls enters it, page
    by page.
    """
    async with connection.transaction():
        await connection.execute(LOCK)
        await connection.execute(DROP, (webhook, position))
        await connection.execute(DROP_LANES, (webhook,))
        await connection.execute(STORE_LANES, (now, webhook))
        await connection.execute(REWIND, (webhook, position))
        await connection.execute(WAKE, (VIEW,))


async def _again(
    connection: AsyncConnection, webhook: str, query: str, values: Iterable[Any], now: datetime
) -> int:
    await connection.execute(LOCK)
    rows = await (await connection.execute(query, tuple(values), binary=True)).fetchall()
    owed = [Owed(webhook, *row) for row in rows]
    await enter(connection, owed, now)
    await connection.execute(AGAIN, (now, webhook, list({each.stream for each in owed})))
    await connection.execute(WAKE, (VIEW,))
    return len(owed)
