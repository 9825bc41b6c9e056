"""The read model of webhooks: those of each execution, and each event that one of them is owed.

Both follow from the events alone. How far the calls have come does not, and is kept apart from them, in
`webhook_calls` (see `calls`), which no rebuild touches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection

from domain.eventlog.pg_arrays import columns, placeholders
from domain.execution.events import EVENTS
from domain.model import Recorded, aggregate_id
from projections.deliveries.hooks import Delivery, Hook, hooks_after, owed
from projections.engine.row_cache import RowCache

CAPACITY = 50_000
"""Executions whose webhooks are kept between pages; most have none."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS webhooks (
    execution text COLLATE "C" NOT NULL,
    webhook   text COLLATE "C" NOT NULL,
    version   bigint NOT NULL,           -- of the event that set it
    endpoint  text COLLATE "C" NOT NULL, -- scheme, host and port
    events    text[] NOT NULL,
    PRIMARY KEY (execution, webhook)
);
CREATE TABLE IF NOT EXISTS deliveries (
    execution text COLLATE "C" NOT NULL,
    webhook   text COLLATE "C" NOT NULL,
    position  bigint NOT NULL,           -- of the event that is owed
    version   bigint NOT NULL,
    PRIMARY KEY (execution, webhook, position)
);
CREATE INDEX IF NOT EXISTS deliveries_position ON deliveries (position);
"""
LOAD = f"""SELECT {", ".join(Hook._fields)} FROM webhooks WHERE execution = ANY(%b::text[])
    ORDER BY execution, webhook"""
DROP = "DELETE FROM webhooks WHERE execution = ANY(%b::text[])"
SET = f"INSERT INTO webhooks ({', '.join(Hook._fields)}) VALUES (%b, %b, %b, %b, %b::text[])"
DELIVERY = ("text", "text", "bigint", "bigint")
OWE = f"""INSERT INTO deliveries ({", ".join(Delivery._fields)})
    SELECT * FROM unnest({placeholders(DELIVERY)})"""

Hooks = dict[str, tuple[Hook, ...]]
"""The webhooks of executions, in the order of their ids."""


class Deliveries:
    """Follows the events that webhooks are owed. Who calls them is `workers.webhooks`."""

    name: ClassVar[str] = "deliveries"
    schema: ClassVar[str] = SCHEMA
    tables: ClassVar[tuple[str, ...]] = ("webhooks", "deliveries")
    gathers: ClassVar[float] = 0.02
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in EVENTS)
    by_stream: ClassVar[bool] = True
    compared: ClassVar[Mapping[str, str]] = {"webhooks": "true", "deliveries": "true"}

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._known = RowCache(capacity, LOAD, _hooks)

    def forget(self) -> None:
        """Drop what is kept between pages."""
        self._known.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Set the webhooks that the page sets, and note what it owes."""
        before = await self._known.load(connection, page)
        hooks, deliveries = dict(before), list[Delivery]()
        for recorded in page:
            execution = aggregate_id(recorded.stream)
            after = hooks_after(hooks.get(execution, ()), recorded)
            hooks[execution] = after
            if after:
                deliveries += owed(after, recorded)
        await _write(connection, before, hooks)
        if deliveries:
            await connection.execute(OWE, columns(DELIVERY, deliveries), prepare=True)
        self._known.keep(hooks)


def _hooks(rows: Sequence[tuple[Any, ...]]) -> Hooks:
    hooks: Hooks = {}
    for row in rows:
        hook = Hook(*row)._replace(events=tuple(row[4]))
        hooks[hook.execution] = (*hooks.get(hook.execution, ()), hook)
    return hooks


async def _write(connection: AsyncConnection, before: Hooks, hooks: Hooks) -> None:
    changed = [execution for execution, after in hooks.items() if after != before.get(execution)]
    if replaced := [execution for execution in changed if before.get(execution)]:
        await connection.execute(DROP, (replaced,), prepare=True)
    rows = [(*hook[:4], list(hook.events)) for execution in changed for hook in hooks[execution]]
    if rows:
        async with connection.cursor() as cursor:
            await cursor.executemany(SET, rows)
