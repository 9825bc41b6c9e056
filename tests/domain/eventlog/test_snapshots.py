"""Snapshots only save time: a state is the same with a missing, outdated or damaged one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import given

from domain import registry
from domain.catalog.service import Service
from domain.eventlog.codec import Codec, Snapshot, encode_state
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.execution.state import Execution
from domain.model import Aggregate, Event
from tests.support import sample_aggregate
from tests.support.sample_aggregate import NOON, Begin, Raise, Tally, message, running_bus


@dataclass(frozen=True)
class TallyOfLater(Tally):
    """The state in a later program: with one more field."""

    highest: int = 0


def in_other_words(state: type[Aggregate]) -> type[Aggregate]:
    """The same state, whose class has another docstring."""
    return type(state.__name__, (state,), {"__doc__": "In other words.", "__module__": __name__})


WHOLE_SNAPSHOTS = """SELECT originator_version FROM snapshots WHERE digest = snapshot_digest(
    originator_id, originator_version, position, shape, state) ORDER BY 1"""


def change(database: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


async def raise_tally(store: Store, times: int, begin: Callable[[], Begin] | None = None) -> int:
    async with running_bus(store) as bus:
        if begin:
            await bus.send(message("a", begin()))
        answers = await asyncio.gather(*(bus.submit(message("a", Raise())) for _ in range(times)))
    total: int = answers[-1].versioned.state.total
    return total


def test_fingerprint_changes_with_a_field_and_not_with_a_docstring() -> None:
    def shape(state: type[Aggregate]) -> str:
        return Codec([], {"tally": state}).shape

    assert shape(in_other_words(Tally)) == shape(Tally) != shape(TallyOfLater)
    assert shape(in_other_words(Service)) == shape(Service)  # it has a field `description`


async def test_snapshot_of_another_fingerprint_is_ignored(database: str) -> None:
    assert await raise_tally(sample_aggregate.store(database), 1_200, Begin) == 1_200
    events: list[type[Event]] = [
        sample_aggregate.TallyBegun,
        sample_aggregate.TallyRaised,
        sample_aggregate.TallyNoted,
    ]
    later = Store(
        database, "executions", Codec(events, {"tally": TallyOfLater}), sample_aggregate.keyring()
    )
    assert later.codec.shape != sample_aggregate.codec().shape
    change(database, 'UPDATE snapshots SET state = \'{"no": "tally"}\'')
    assert await raise_tally(later, 600) == 1_800


async def test_state_without_snapshots_is_the_same(database: str) -> None:
    await raise_tally(sample_aggregate.store(database), 1_200, Begin)
    change(database, "DELETE FROM snapshots")
    assert await raise_tally(sample_aggregate.store(database), 1) == 1_201


durations = st.timedeltas(timedelta(days=-3_650), timedelta(days=3_650))


@given(durations, durations)
def test_state_frozen_by_a_view_is_equal_to_the_microsecond(
    active: timedelta, timeout: timedelta
) -> None:
    state = Execution(
        "e", "o", "s", None, "c", "p", NOON, NOON, NOON, active=active, timeout=timeout
    )
    row = Snapshot("execution/e", 1, 1, NOON, encode_state(state))
    assert registry.codec().restore(row).state == state


DAMAGES = {
    "truncated": "UPDATE snapshots SET state = substring(state FOR octet_length(state) / 2)",
    "altered": 'UPDATE snapshots SET state = \'{"id":"a","total":7000}\'',
    "of-another-version": "UPDATE snapshots SET originator_version = originator_version + 1",
    "of-another-position": "UPDATE snapshots SET position = position + 1",
    "of-another-stream": "UPDATE snapshots SET originator_id = 'tally/b'",
    "of-another-shape": "UPDATE snapshots SET shape = shape || 'x'",
    "beyond-the-stream": """INSERT INTO snapshots SELECT originator_id, 9000, 9000, at, state, shape,
        snapshot_digest(originator_id, 9000, 9000, shape, state) FROM snapshots LIMIT 1""",
    "without-a-digest": "UPDATE snapshots SET digest = NULL",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damaged_snapshot_is_ignored_and_the_state_is_folded_from_the_events(
    database: str, damage: str
) -> None:
    await raise_tally(sample_aggregate.store(database), 1_200, Begin)
    async with running_bus(sample_aggregate.store(database)) as bus:
        await bus.send(message("b", Begin()))
    change(database, damage)
    assert await raise_tally(sample_aggregate.store(database), 1) == 1_201
    store = sample_aggregate.store(database)
    async with running_bus(store):
        versioned = await store.load("tally/b")
        assert versioned is not None
        assert (versioned.version, versioned.state.total) == (1, 0)


async def test_damaged_snapshot_is_replaced_by_the_first_long_read(database: str) -> None:
    await raise_tally(sample_aggregate.store(database), 1_200, Begin)
    change(database, "UPDATE snapshots SET state = ''")
    store = sample_aggregate.store(database)
    async with running_bus(store):
        await store.load_with_head("tally/a", 1_000)
        await store.load_with_head("tally/a")
    assert change(database, WHOLE_SNAPSHOTS) == [(1_000,)]


async def test_damaged_snapshot_is_replaced_when_its_version_is_reached_again(
    database: str,
) -> None:
    await raise_tally(sample_aggregate.store(database), 499, Begin)
    change(database, "UPDATE snapshots SET state = ''")
    store = sample_aggregate.store(database)
    async with running_bus(store):
        versioned = await store.load("tally/a")
        assert versioned is not None
        key = store.keyring.get_or_create("tally/a")
        await store.store_snapshots([store.codec.take_snapshot("tally/a", versioned, key)])
    assert change(database, WHOLE_SNAPSHOTS) == [(500,)]


async def test_state_is_loaded_from_an_intact_snapshot(database: str) -> None:
    await raise_tally(sample_aggregate.store(database), 1_200, Begin)
    change(
        database,
        """UPDATE snapshots SET state = convert_to(s.state, 'UTF8'), digest = snapshot_digest(
            originator_id, originator_version, position, shape, convert_to(s.state, 'UTF8'))
        FROM (SELECT '{"id":"a","total":7000}' AS state) AS s""",
    )
    store = sample_aggregate.store(database)
    async with running_bus(store):
        versioned = await store.load("tally/a")
        assert versioned is not None
        assert versioned.state.total >= 7_000
