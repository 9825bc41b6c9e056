"""The read model of webhooks: which there are, which are disabled, and how often their secrets changed.

It follows from the events alone. What webhooks are owed and were sent does not, and is kept apart from it
(see `queue`), where no rebuild touches it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from psycopg import AsyncConnection

from domain.catalog.webhook import EVENTS, HookEvent, WebhookRemoved
from domain.execution.events.creation import ExecutionCreated, ExecutionUpdated
from domain.execution.events.lifecycle import ExecutionErased
from domain.model import Recorded, aggregate_id
from projections.deliveries.hooks import (
    HookRow,
    HookState,
    state_after,
    webhook_of_log,
    webhooks_of_execution,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS webhooks (
    webhook   text COLLATE "C" PRIMARY KEY,
    execution text COLLATE "C",          -- whose it is; NULL: of the whole log
    stream    text COLLATE "C" NOT NULL, -- of the event that set it
    version   bigint NOT NULL,           -- of that event
    position  bigint NOT NULL,           -- of that event
    since     bigint NOT NULL,           -- the events after it are owed
    endpoint  text COLLATE "C" NOT NULL, -- scheme, host and port
    events    text[] NOT NULL,
    filter    text,                      -- JSON, in the filter language of lists
    scope     text,                      -- the same, what its maker could see; NULL: everything
    maker     text COLLATE "C"           -- of the whole log: whose it is alone
);
CREATE INDEX IF NOT EXISTS webhooks_stream ON webhooks (stream);
CREATE INDEX IF NOT EXISTS webhooks_position ON webhooks (position);
CREATE INDEX IF NOT EXISTS webhooks_of_log ON webhooks (webhook) WHERE execution IS NULL;
CREATE TABLE IF NOT EXISTS webhook_states (
    webhook       text COLLATE "C" PRIMARY KEY,
    disabled_at   bigint,                -- a position; set after it, a webhook is called again
    generation    integer NOT NULL,      -- of its secret
    overlap_until timestamptz            -- until then the secret before signs, too
);
"""
NAMES = ", ".join(HookRow._fields)
SET = f"""INSERT INTO webhooks ({NAMES}) VALUES (%b, %b, %b, %b, %b, %b, %b, %b::text[],
        %b, %b, %b)
    ON CONFLICT (webhook) DO UPDATE SET version = excluded.version, position = excluded.position,
        endpoint = excluded.endpoint, events = excluded.events, filter = excluded.filter"""
UNSET = "DELETE FROM webhooks WHERE stream = %b AND NOT webhook = ANY(%b::text[])"
REMOVE = (
    "DELETE FROM webhooks WHERE webhook = %b",
    "DELETE FROM webhook_states WHERE webhook = %b",
)
STATE = f"SELECT {', '.join(HookState._fields)} FROM webhook_states WHERE webhook = %b"
STORE = f"""INSERT INTO webhook_states ({", ".join(HookState._fields)}) VALUES (%b, %b, %b, %b)
    ON CONFLICT (webhook) DO UPDATE SET disabled_at = excluded.disabled_at,
        generation = excluded.generation, overlap_until = excluded.overlap_until"""


class Deliveries:
    """Follows the webhooks that are to be called. Who calls them is `workers.webhooks`."""

    name: ClassVar[str] = "deliveries"
    schema: ClassVar[str] = SCHEMA
    tables: ClassVar[tuple[str, ...]] = ("webhooks", "webhook_states")
    gathers: ClassVar[float] = 0.02
    types: ClassVar[Sequence[str] | None] = (
        ExecutionCreated.type,
        ExecutionUpdated.type,
        ExecutionErased.type,
        *(event.type for event in EVENTS),
    )
    compared: ClassVar[Mapping[str, str]] = {"webhooks": "true", "webhook_states": "true"}

    def forget(self) -> None:
        """There is nothing to forget."""

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Set the webhooks that the page sets. Few events of a log do."""
        for recorded in page:
            if isinstance(recorded.event, HookEvent):
                await _apply_own(connection, recorded)
            elif (hooks := webhooks_of_execution(recorded)) is not None:
                await _replace(connection, recorded, hooks)


async def _replace(connection: AsyncConnection, recorded: Recorded, hooks: list[HookRow]) -> None:
    if recorded.version > 1:
        kept = [hook.webhook for hook in hooks]
        await connection.execute(UNSET, (recorded.stream, kept))
    for hook in hooks:
        await connection.execute(SET, hook)


async def _apply_own(connection: AsyncConnection, recorded: Recorded) -> None:
    webhook = aggregate_id(recorded.stream)
    if isinstance(recorded.event, WebhookRemoved):
        for query in REMOVE:
            await connection.execute(query, (webhook,))
        return
    if (hook := webhook_of_log(recorded)) is not None:
        await connection.execute(SET, hook)
    row = await (await connection.execute(STATE, (webhook,))).fetchone()
    before = HookState(webhook, None, 0, None) if row is None else HookState(*row)
    after = state_after(before, recorded)
    if after != before:
        await connection.execute(STORE, after)
