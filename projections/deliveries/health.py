"""The state of deliveries of each webhook, for readers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.json_forms import format_time

MOST_COUNTED = 10_000
HEALTH = f"""SELECT w.webhook, (SELECT count(*) FROM (SELECT FROM webhook_deliveries AS d
            WHERE d.webhook = w.webhook AND d.state = 'waiting' LIMIT {MOST_COUNTED}) AS found),
        (SELECT count(*) FROM (SELECT FROM webhook_deliveries AS d
            WHERE d.webhook = w.webhook AND d.state = 'failed' LIMIT {MOST_COUNTED}) AS found),
        coalesce(s.disabled_at > w.position, false),
        (SELECT max(attempts) FROM (SELECT attempts FROM webhook_deliveries AS d
            WHERE d.webhook = w.webhook AND d.state = 'waiting' LIMIT {MOST_COUNTED}) AS found),
        (SELECT min(next_at) FROM webhook_lanes AS l WHERE l.webhook = w.webhook),
        greatest((SELECT position FROM webhook_head) - p.position, 0),
        p.fault, p.failing_since, p.last_at, p.status, p.latency, p.answer, p.error
    FROM webhooks AS w LEFT JOIN webhook_states AS s USING (webhook)
    LEFT JOIN webhook_progress AS p USING (webhook) WHERE w.webhook = ANY(%b::text[])"""
STATES = ("idle", "waiting", "delivered", "failing", "disabled")


class WebhookHealth(NamedTuple):
    """A row of the query, without its webhook; counts go up to `MOST_COUNTED`. `fault` says why no event is entered."""

    waiting: int
    given_up: int
    disabled: bool
    attempts: int | None
    next_at: datetime | None
    behind: int
    fault: str | None
    failing_since: datetime | None
    last_at: datetime | None
    status: int | None
    latency: int | None
    answer: str | None
    error: str | None

    @property
    def state(self) -> str:
        """`disabled`, `failing` since a call failed or what it asks for could not be read, `waiting` while events
        wait, `delivered` if the last call was taken, else `idle`.
        """
        if self.disabled:
            return "disabled"
        if self.failing_since is not None or self.fault is not None:
            return "failing"
        if self.waiting or self.behind:
            return "waiting"
        taken = self.last_at is not None and self.error is None
        return "delivered" if taken else "idle"

    def document(self) -> dict[str, Any]:
        """As clients see it; what is not known is left out."""
        times = {
            "nextAt": self.next_at if self.waiting else None,
            "failingSince": self.failing_since,
            "lastAt": self.last_at,
        }
        last = {
            "lastStatus": self.status,
            "lastLatency": self.latency,
            "lastAnswer": self.answer or None,
            "lastError": self.fault or self.error,
        }
        return {
            "state": self.state,
            "waiting": self.waiting,
            "givenUp": self.given_up,
            "attempts": self.attempts or 0,
            **({"behind": self.behind} if self.behind else {}),
            **{name: format_time(at) for name, at in times.items() if at is not None},
            **{name: value for name, value in last.items() if value is not None},
        }


def health_member(health: WebhookHealth | None) -> dict[str, Any]:
    """The member `health` of a webhook as clients see it; none where the read model has no such webhook."""
    return {} if health is None else {"health": health.document()}


async def health_of(
    connection: AsyncConnection, webhooks: Iterable[str]
) -> dict[str, WebhookHealth]:
    """The health of webhooks that are known, by what they are called in the log."""
    cursor = await connection.execute(HEALTH, (list(webhooks),), binary=True)
    return {row[0]: WebhookHealth(*row[1:]) for row in await cursor.fetchall()}
