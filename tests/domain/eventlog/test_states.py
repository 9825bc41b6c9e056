"""States of one stream and of many: the current ones, at versions, at times, and along versions."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import psycopg
import pytest

from domain.budget import Budget
from domain.errors import ArchiveAway, Damaged, TooExpensive
from domain.eventlog import state_parts, states
from domain.eventlog.codec import EventRow
from domain.eventlog.queries import LOAD, LOAD_AT_POSITION, LOAD_AT_TIME, NEWEST, WITH_HEAD
from domain.eventlog.states import LoadedState
from domain.eventlog.store import Store
from domain.model import Versioned
from domain.sealing import Ciphertext
from tests.domain.eventlog.test_store import SECOND, opened, two_tallies, write
from tests.support.sample_aggregate import NOON, TallyNoted, TallyRaised, store

pytestmark = pytest.mark.anyio
NewStore = Callable[[], Store]


@pytest.fixture
async def either(new_store: NewStore) -> AsyncIterator[Store]:
    """A store on PostgreSQL and one in memory: `a` at positions 1, 3 and 4, `b` at 2."""
    async with opened(new_store()) as log:
        await two_tallies(log)
        yield log


@pytest.fixture
async def log(database: str) -> AsyncIterator[Store]:
    async with opened(store(database)) as log:
        await two_tallies(log)
        yield log


def totals(states: dict[str, Versioned[Any]]) -> dict[str, tuple[int, int]]:
    return {
        stream: (versioned.version, versioned.state.total) for stream, versioned in states.items()
    }


def budget(seconds: float = 60) -> Budget:
    return Budget(seconds, TooExpensive())


async def test_stream_that_cannot_be_read_now_may_have_a_key(
    log: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_nothing(*_: Any, unreadable: dict[str, Any], **__: Any) -> list[Any]:
        unreadable["tally/a"] = ArchiveAway()
        return []

    monkeypatch.setattr(states, "read_parts", read_nothing)
    async with log.reader() as connection:
        await log.states.load(connection, {"tally/a": None}, use_absent=True, damaged={})
    assert log.keyring.known_keys(["tally/a"], use_absent=True) == ({}, ["tally/a"])


@pytest.mark.parametrize(
    ("until", "version"),
    [(NEWEST, 3), (3, 3), (2, 2), (1, 1), (NOON + 3 * SECOND, 2), (NOON, None)],
)
async def test_look_returns_a_state_with_the_head_of_the_log(
    either: Store, until: Any, version: int | None
) -> None:
    versioned, position, at, erased = await either.load_with_head("tally/a", until)
    assert not erased
    assert (versioned.version if versioned else None) == version
    assert (position, at) == (4, NOON + 4 * SECOND)


async def test_look_at_a_missing_stream_returns_no_state_and_the_head_of_the_log(
    either: Store,
) -> None:
    assert await either.load_with_head("tally/nobody") == LoadedState(None, 4, NOON + 4 * SECOND)


@pytest.mark.parametrize(
    ("moment", "found"),
    [
        (1, {"tally/a": (1, 0)}),
        (2, {"tally/a": (1, 0), "tally/b": (1, 0)}),
        (3, {"tally/a": (2, 2), "tally/b": (1, 0)}),
        (NOON + 3 * SECOND, {"tally/a": (2, 2), "tally/b": (1, 0)}),
        (NOON, {}),
        (None, {"tally/a": (3, 5), "tally/b": (1, 0)}),
    ],
)
async def test_many_streams_are_read_as_of_a_time(
    either: Store, moment: Any, found: dict[str, tuple[int, int]]
) -> None:
    streams = ["tally/a", "tally/b", "tally/nobody"]
    assert totals(await either.load_all(streams, moment)) == found
    assert await either.load_all([], moment) == {}


async def test_latest_snapshot_before_the_requested_version_is_used(log: Store) -> None:
    key = log.keyring.get_or_create("tally/a")
    await write(log, ("tally/a", 4, TallyNoted(note="secret")))
    for version, total in ((1, 100), (3, 300)):
        versioned = await log.load("tally/a", version)
        assert versioned is not None
        wrong = versioned._replace(state=versioned.state.evolve(total=total))  # wrong on purpose
        await log.store_snapshots([log.codec.take_snapshot("tally/a", wrong, key)])
    for version, total in ((1, 100), (2, 102), (3, 300), (4, 300)):
        versioned = await log.load("tally/a", version)
        assert versioned is not None
        assert (versioned.version, versioned.state.total) == (version, total)
    assert totals(await log.load_all(["tally/a"], 3)) == {"tally/a": (2, 102)}


async def test_states_at_versions_stay_sealed(log: Store) -> None:
    await write(log, ("tally/a", 4, TallyNoted(note="secret")))
    async with log.reader() as connection:
        states = await log.states.states_at(connection, {"tally/a": 4, "tally/b": 1})
        assert await log.states.states_at(connection, {}) == {}
    assert isinstance(states["tally/a"].state.note, Ciphertext)
    assert states["tally/b"].version == 1


async def test_unreadable_stream_is_named(log: Store) -> None:
    strange = EventRow(
        5, 1, NOON + 5 * SECOND, "tally/s", "tally.from-the-future", '{"by":"x"}', b"{}"
    )
    async with log.transaction() as transaction:
        await transaction.append([strange], [], strange.at)
    async with log.reader() as connection:
        with pytest.raises(Damaged) as refused:
            await log.states.states_at(connection, {"tally/a": 1, "tally/s": 1})
    assert refused.value.members["stream"] == "tally/s"


@pytest.mark.parametrize("page_bytes", [1, 1_000_000])
async def test_states_along_a_range_include_every_version(
    log: Store, monkeypatch: pytest.MonkeyPatch, page_bytes: int
) -> None:
    monkeypatch.setattr(state_parts, "PAGE_BYTES", page_bytes)
    await write(log, *(("tally/a", version, TallyRaised(amount=1)) for version in range(4, 11)))
    way = log.states.along(log.reader, "tally/a", 2, 8, budget=budget())
    passed = [(versioned.version, versioned.state.total, event) async for versioned, event in way]
    assert [(version, total) for version, total, _ in passed] == [
        (2, 2), (3, 5), (4, 6), (5, 7), (6, 8), (7, 9), (8, 10)
    ]  # fmt: skip
    assert [event and event.version for *_, event in passed] == [None, 3, 4, 5, 6, 7, 8]
    beyond = log.states.along(log.reader, "tally/a", 9, 99, budget=budget())
    assert [versioned.version async for versioned, _ in beyond] == [9, 10]
    nothing = log.states.along(log.reader, "tally/a", 11, 12, budget=budget())
    assert [versioned async for versioned, _ in nothing] == []


async def test_states_along_a_range_open_with_the_key_and_end_with_the_budget(log: Store) -> None:
    await write(log, ("tally/a", 4, TallyNoted(note="secret")))
    key = (await log.keys(["tally/a"]))["tally/a"]
    way = log.states.along(log.reader, "tally/a", 3, 4, budget=budget(), key=key)
    assert [versioned.state.note async for versioned, _ in way] == [None, "secret"]
    with pytest.raises(TooExpensive):
        async for _ in log.states.along(log.reader, "tally/a", 1, 4, budget=budget(0)):
            pass


async def test_states_along_are_those_of_the_requested_versions(log: Store) -> None:
    states = await log.states.states_along(log.reader, "tally/a", [3, 1, 99], budget())
    assert {version: versioned.state.total for version, versioned in states.items()} == {1: 0, 3: 5}


async def test_positions_are_mapped_to_versions(log: Store) -> None:
    places = [("tally/a", 3), ("tally/a", 2), ("tally/b", 1), ("tally/b", 99)]
    async with log.reader() as connection:
        found = await log.states.versions_at(connection, places)
    assert list(found.values()) == [2, 1, 0, 1]


@pytest.mark.parametrize("query", [LOAD, LOAD_AT_POSITION, LOAD_AT_TIME, WITH_HEAD + LOAD])
def test_generic_query_plan_made_on_empty_tables_uses_the_indexes(
    database: str, query: str
) -> None:
    """A connection plans a statement once, and keeps the plan while the tables grow."""
    numbers = count(1)
    numbered = re.sub("%b", lambda _: f"${next(numbers)}", query)
    with psycopg.connect(database, options="-c search_path=executions") as connection:
        rows = connection.execute(f"EXPLAIN (GENERIC_PLAN) {numbered}", prepare=False).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert re.findall(r"Seq Scan on (?:events|snapshots|data_keys)", plan) == []
    for index in ("events_pkey", "snapshots_pkey", "data_keys_pkey"):
        assert index in plan


COUNTED = """CREATE SEQUENCE executions.digests;
CREATE OR REPLACE FUNCTION executions.snapshot_digest(
    stream text, version bigint, place bigint, shape text, state bytea
) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM nextval('executions.digests'); RETURN 'right'::bytea; END $$;
INSERT INTO snapshots SELECT originator_id, originator_version, notification_id, at, 'state', 'shape', 'right'
    FROM events WHERE originator_id = 'tally/a';
ANALYZE snapshots; ANALYZE events"""


async def test_only_the_digest_of_the_nearest_snapshot_is_computed(
    log: Store, database: str
) -> None:
    load = LOAD.replace("%b", "%s")
    with psycopg.connect(database, options="-c search_path=executions") as connection:
        connection.execute(COUNTED)
        asked = (["tally/a"], [-1], [NEWEST], [False], "shape")
        [nearest] = connection.execute(load, asked).fetchall()
        assert nearest[1] == 3
        assert connection.execute("SELECT last_value FROM executions.digests").fetchall() == [(1,)]
