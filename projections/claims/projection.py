"""The read model of claims: one narrow row for each execution that has not ended for good, and two totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from psycopg import AsyncConnection

from domain.eventlog.connection.pg_arrays import columns, placeholders
from domain.execution.events.claims import ExecutionClaimed, ExecutionReleased
from domain.execution.events.lifecycle import ExecutionFailed
from domain.execution.types import LEASE_LOST
from domain.model import Recorded
from projections.claims.row import CONCERNED, Claimable, after
from projections.engine.row_cache import RowCache

CAPACITY = 5_000
"""Rows that are cached between pages, of about 400 bytes each."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (
    execution text COLLATE "C" PRIMARY KEY,
    status    text COLLATE "C" NOT NULL,
    rank      bigint NOT NULL,      -- of its priority; the more urgent, the higher
    created   bigint NOT NULL,      -- the position of its first event
    service   text COLLATE "C" NOT NULL,
    customer  text COLLATE "C" NOT NULL,
    provider  text COLLATE "C" NOT NULL,
    assignee  text COLLATE "C",
    since     timestamptz NOT NULL, -- of the event that gave it the status
    worker    text COLLATE "C",     -- who holds it
    lease     bigint,               -- milliseconds
    silence   bigint,               -- milliseconds that it may be silent while it runs
    due       timestamptz           -- the first of both, if nothing comes; NULL: neither
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS claims_queue ON claims (rank DESC, created) WHERE status = 'queued';
CREATE INDEX IF NOT EXISTS claims_of_service ON claims (service, rank DESC, created)
    WHERE status = 'queued';
CREATE INDEX IF NOT EXISTS claims_of_provider ON claims (provider, rank DESC, created)
    WHERE status = 'queued';
CREATE INDEX IF NOT EXISTS claims_of_assignee ON claims (assignee, rank DESC, created)
    WHERE status = 'queued' AND assignee IS NOT NULL;
CREATE INDEX IF NOT EXISTS claims_due ON claims (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS claim_totals (
    what     text COLLATE "C" PRIMARY KEY,
    total    bigint NOT NULL
) WITH (fillfactor = 10);
"""
ARRAYS = (
    *("text", "text", "bigint", "bigint", "text", "text", "text", "text", "timestamptz"),
    *("text", "bigint", "bigint", "timestamptz"),
)
NAMES = ", ".join(Claimable._fields)
LOAD = f"SELECT {NAMES} FROM claims WHERE execution = ANY(%b::text[])"
STORE = f"""INSERT INTO claims ({NAMES}) SELECT * FROM unnest({placeholders(ARRAYS)})
    ON CONFLICT (execution) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in Claimable._fields[1:])}"""
DROP = "DELETE FROM claims WHERE execution = ANY(%b::text[])"
COUNT = """INSERT INTO claim_totals AS t VALUES (%b, %b)
    ON CONFLICT (what) DO UPDATE SET total = t.total + excluded.total"""
CLAIMED, LOST = "claimed", "lost"


class Claims:
    """The view of claims: it applies the events by which executions move between the queue and the workers."""

    name: ClassVar[str] = "claims"
    schema: ClassVar[str] = SCHEMA
    tables: ClassVar[tuple[str, ...]] = ("claims", "claim_totals")
    gathers: ClassVar[float] = 0.02
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in CONCERNED)
    compared: ClassVar[Mapping[str, str]] = {"claims": "true", "claim_totals": "true"}

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._cache = RowCache(
            capacity, LOAD, lambda rows: {row[0]: Claimable(*row) for row in rows}
        )

    def forget(self) -> None:
        """Drop the rows cached between pages."""
        self._cache.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Apply the page to the rows of its executions, and to the totals."""
        rows, changed, ended = await self._cache.fold(connection, page, after)
        if changed:
            await connection.execute(STORE, columns(ARRAYS, changed), prepare=True)
        if ended:
            await connection.execute(DROP, (ended,), prepare=True)
        await _count(connection, page)
        self._cache.put(rows)


def _is_loss(recorded: Recorded) -> bool:
    """Whether an event is the loss of a lease: a release, or after too many losses a failure."""
    match recorded.event:
        case ExecutionReleased(reason=reason):
            return reason == "lease-lost"
        case ExecutionFailed(error=error):
            return error.code == LEASE_LOST
    return False


async def _count(connection: AsyncConnection, page: Sequence[Recorded]) -> None:
    claimed = sum(isinstance(recorded.event, ExecutionClaimed) for recorded in page)
    lost = sum(_is_loss(recorded) for recorded in page)
    for what, number in ((CLAIMED, claimed), (LOST, lost)):
        if number:
            await connection.execute(COUNT, (what, number), prepare=True)
