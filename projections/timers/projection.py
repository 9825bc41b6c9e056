"""The read model of timers: one narrow row for each execution that has not ended for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from psycopg import AsyncConnection

from domain.eventlog.connection.pg_arrays import columns, placeholders
from domain.model import Recorded
from projections.engine.row_cache import RowCache
from projections.timers.timer import CONCERNED, Timer, after

CAPACITY = 5_000
"""Timers that are cached between pages, of about 300 bytes each."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS timers (
    execution     text COLLATE "C" PRIMARY KEY,
    status        text COLLATE "C" NOT NULL,
    timeout       bigint,                  -- milliseconds; NULL: no limit
    worked        bigint NOT NULL,         -- milliseconds of this attempt, up to active_since
    active_since  timestamptz,             -- while it works
    checkpoint_at timestamptz,             -- of the last checkpoint
    retry_at      timestamptz,             -- while it waits for a retry
    due           timestamptz,             -- its retry or its timeout; NULL: neither is
    checkpoint_due timestamptz             -- its next automatic checkpoint; NULL: none is
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS timers_due ON timers (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS timers_checkpoint_due ON timers (checkpoint_due)
    WHERE checkpoint_due IS NOT NULL;
"""
ARRAYS = (*("text", "text", "bigint", "bigint"), *("timestamptz",) * 5)
NAMES = ", ".join(Timer._fields)
LOAD = f"SELECT {NAMES} FROM timers WHERE execution = ANY(%b::text[])"
STORE = f"""INSERT INTO timers ({NAMES}) SELECT * FROM unnest({placeholders(ARRAYS)})
    ON CONFLICT (execution) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in Timer._fields[1:])}"""
DROP = "DELETE FROM timers WHERE execution = ANY(%b::text[])"


class Timers:
    """The view of timers. `workers.timers.worker` fires them."""

    name: ClassVar[str] = "timers"
    schema: ClassVar[str] = SCHEMA
    tables: ClassVar[tuple[str, ...]] = ("timers",)
    gathers: ClassVar[float] = 0.02
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in CONCERNED)
    compared: ClassVar[Mapping[str, str]] = {"timers": "true"}

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._cache = RowCache(capacity, LOAD, lambda rows: {row[0]: Timer(*row) for row in rows})

    def forget(self) -> None:
        """Drop the timers cached between pages."""
        self._cache.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Apply the page to the timers of its executions."""
        rows, changed, ended = await self._cache.fold(connection, page, after)
        if changed:
            await connection.execute(STORE, columns(ARRAYS, changed), prepare=True)
        if ended:
            await connection.execute(DROP, (ended,), prepare=True)
        self._cache.put(rows)
