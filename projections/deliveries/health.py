"""How the calls of the webhooks of an execution stand, for its readers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.json_forms import format_time

HEALTH = """SELECT w.webhook, (SELECT count(*) FROM deliveries AS d
        WHERE d.execution = w.execution AND d.webhook = w.webhook
            AND d.position > coalesce(c.position, (SELECT since FROM webhook_head))) AS waiting,
        coalesce(c.given_up, 0), coalesce(c.gone = w.version, false), coalesce(c.attempts, 0),
        c.next_at, c.failing_since, c.last_at, c.status, c.latency, c.answer, c.error
    FROM webhooks AS w LEFT JOIN webhook_calls AS c USING (execution, webhook)
    WHERE w.execution = %b"""


STATES = ("idle", "waiting", "delivered", "failing", "gone")


class Health(NamedTuple):
    """A row of the query, without its webhook."""

    waiting: int
    given_up: int
    gone: bool
    attempts: int
    next_at: datetime | None
    failing_since: datetime | None
    last_at: datetime | None
    status: int | None
    latency: int | None
    answer: str | None
    error: str | None

    @property
    def state(self) -> str:
        """`gone` after a 410, `failing` since a call failed, `waiting` while events wait, `delivered`."""
        if self.gone:
            return "gone"
        if self.failing_since is not None:
            return "failing"
        if self.waiting:
            return "waiting"
        return "delivered" if self.last_at is not None else "idle"

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
            "lastError": self.error,
        }
        return {
            "state": self.state,
            "waiting": self.waiting,
            "givenUp": self.given_up,
            "attempts": self.attempts,
            **{name: format_time(at) for name, at in times.items() if at is not None},
            **{name: value for name, value in last.items() if value is not None},
        }


async def health_of(connection: AsyncConnection, execution: str) -> dict[str, Health]:
    """The health of each webhook that an execution has, by its id."""
    cursor = await connection.execute(HEALTH, (execution,), binary=True)
    return {row[0]: Health(*row[1:]) for row in await cursor.fetchall()}
