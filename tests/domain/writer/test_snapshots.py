"""Snapshots that are stored because an event asks for one."""

from __future__ import annotations

import pytest
from psycopg import AsyncConnection

from domain.eventlog import codec
from domain.execution.events.lifecycle import RetryScheduled
from tests.support.sample_aggregate import (
    Begin,
    Note,
    Raise,
    TallyRaised,
    message,
    running_bus,
    store,
)

pytestmark = pytest.mark.anyio
STORED = "SELECT originator_version FROM executions.snapshots ORDER BY 1"


async def stored_versions(database: str) -> list[int]:
    async with await AsyncConnection.connect(database) as connection:
        return [row[0] for row in await (await connection.execute(STORED)).fetchall()]


async def test_snapshot_is_stored_after_an_event_that_asks_for_it_unless_the_state_is_large(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TallyRaised, "snapshot", True)
    monkeypatch.setattr(codec, "SMALL_STATE", 1_000)
    async with running_bus(store(database)) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("a", Raise(amount=3)))
        await bus.send(message("a", Note(note="n" * 1_000)))
        await bus.send(message("a", Raise(amount=4)))
    assert await stored_versions(database) == [2]


def test_scheduled_retry_asks_for_a_snapshot() -> None:
    assert RetryScheduled.snapshot
