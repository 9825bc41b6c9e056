"""Snapshots save time, and nothing else: they never decide what a state is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import hypothesis.strategies as st
import psycopg
from hypothesis import given

from domain import registry
from domain.eventlog.codec import Codec, Snapshot, frozen
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.execution.state import Execution
from domain.model import Event
from tests.support import sample_aggregate
from tests.support.sample_aggregate import NOON, Begin, Raise, Tally, message, running_bus


@dataclass(frozen=True)
class TallyOfLater(Tally):
    """The state as a later program has it: with one more field."""

    highest: int = 0


async def raised(store: Store, times: int, begin: Callable[[], Begin] | None = None) -> int:
    async with running_bus(store) as bus:
        if begin:
            await bus.send(message("a", begin()))
        answers = await asyncio.gather(*(bus.submit(message("a", Raise())) for _ in range(times)))
    total: int = answers[-1].versioned.state.total
    return total


async def test_snapshot_of_another_shape_is_left_alone(database: str) -> None:
    assert await raised(sample_aggregate.store(database), 1_200, Begin) == 1_200
    events: list[type[Event]] = [
        sample_aggregate.TallyBegun,
        sample_aggregate.TallyRaised,
        sample_aggregate.TallyNoted,
    ]
    later = Store(
        database, "executions", Codec(events, {"tally": TallyOfLater}), sample_aggregate.keyring()
    )
    assert later.codec.shape != sample_aggregate.codec().shape
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute('UPDATE snapshots SET state = \'{"no": "tally"}\'')
    assert await raised(later, 600) == 1_800


async def test_state_without_snapshots_is_the_same(database: str) -> None:
    await raised(sample_aggregate.store(database), 1_200, Begin)
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute("DELETE FROM snapshots")
    assert await raised(sample_aggregate.store(database), 1) == 1_201


durations = st.timedeltas(timedelta(days=-3_650), timedelta(days=3_650))


@given(durations, durations)
def test_state_frozen_by_a_view_is_the_same_to_the_microsecond(
    active: timedelta, timeout: timedelta
) -> None:
    state = Execution(
        "e", "o", "s", None, "c", "p", NOON, NOON, NOON, active=active, timeout=timeout
    )
    row = Snapshot("execution/e", 1, 1, NOON, frozen(state))
    assert registry.codec().thaw(row).state == state
