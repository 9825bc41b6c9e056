"""A list of the past has the filter, order, pages and documents that the list had then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given
from psycopg import AsyncConnection

from domain.errors import Invalid, TooExpensive
from domain.eventlog.codec import to_sealed_json
from domain.eventlog.sessions import session_options
from domain.execution.types import Status
from domain.model import Recorded, Versioned, replay
from projections.engine.follower import Follower
from projections.engine.pages import LogPages
from projections.executions import past as past_lists
from projections.executions.columns import field
from projections.executions.past import PastLists
from projections.executions.projection import ExecutionPage, Executions
from projections.executions.references import Listed
from projections.query.ast import EVERYTHING, Condition
from projections.query.parser import from_json
from projections.representations.execution import document
from tests.projections.query.test_filters import Deep, comparisons, conditions
from tests.projections.query.test_pagination import SORTS, sort_key
from tests.support.event_writer import NOON, SECOND, Happening, Log, new_store
from tests.support.examples import at_most
from tests.support.filter_model import document_matches
from tests.support.sample_executions import sample

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def shuffle(happenings: Sequence[Happening]) -> list[Happening]:
    """The events of all executions in random order; those of each execution stay in order."""
    random = Random(3)
    left: dict[str, list[Happening]] = {happening.execution: [] for happening in happenings}
    for happening in happenings:
        left[happening.execution].append(happening)
    mixed = []
    while left:
        name = random.choice(sorted(left))
        mixed.append(left[name].pop(0))
        if not left[name]:
            del left[name]
    return mixed


class Past:
    """A log of concurrent executions, and its lists at any time."""

    def __init__(self, conninfo: str) -> None:
        self._loop = asyncio.Runner()
        self._loop.run(self._fill(conninfo))

    async def _fill(self, conninfo: str) -> None:
        self._store = new_store(conninfo)
        await self._store.open()
        self.happenings = shuffle(sample())
        log = Log(self._store)
        for start in range(0, len(self.happenings), 3):
            await log.write(self.happenings[start : start + 3])
        options = session_options("executions")
        self.connection = await AsyncConnection.connect(conninfo, autocommit=True, options=options)
        follower = Follower(Executions(self._store.codec), LogPages(self._store, Executions.types))
        while await follower.catch_up(self.connection):
            pass
        rows = await self._store.read(0, 10_000)
        self.events = [self._store.codec.decode(row) for row in rows]
        self.lists = PastLists(self._store)

    async def _page(self, at: datetime, condition: Condition, **options: Any) -> ExecutionPage:
        moment = await self.lists.moment(at)
        return await self.lists.find(self.connection, NOW, moment, condition, **options)

    def page(self, at: datetime, condition: Condition, **options: Any) -> ExecutionPage:
        return self._loop.run(self._page(at, condition, **options))

    def pages(self, at: datetime, condition: Condition, **options: Any) -> list[Any]:
        found: list[Any] = []
        cursor = None
        while True:
            page = self.page(at, condition, cursor=cursor, count=True, **options)
            found += page.data
            cursor = page.next_cursor
            if cursor is None:
                assert page.total == len(found)
                return found

    def expected(
        self, at: datetime, asked: Deep, sort: str, statuses: Sequence[str] = tuple(Status)
    ) -> list[bytes]:
        """Documents at that time, of those executions that end in one of some statuses."""
        last = {one.state.id: one.state.status for one in states(self.events, NOW)}
        then = [one for one in states(self.events, at) if last[one.state.id] in statuses]
        shown = [to_sealed_json(document(versioned, at)) for versioned in then]
        met = [one for one in shown if document_matches(orjson.loads(one), asked)]
        listed = [Listed(orjson.loads(one)["$id"], one) for one in met]
        return [one.document for one in sorted(listed, key=lambda one: sort_key(one, sort))]

    def close(self) -> None:
        self._loop.run(self.connection.close())
        self._loop.run(self._store.close())
        self._loop.close()


def states(events: Sequence[Recorded], at: datetime) -> list[Versioned[Any]]:
    """The executions recorded by then, folded from their events alone."""
    versioned: dict[str, Versioned[Any] | None] = {}
    for event in events:
        if event.at <= at:
            versioned[event.stream] = replay(versioned.get(event.stream), [event])
    return [state for state in versioned.values() if state]


@pytest.fixture(scope="module")
def past(module_views: str) -> Iterator[Past]:
    made = Past(module_views)
    yield made
    made.close()


def test_list_of_the_past_equals_a_fold_of_the_events_until_then(past: Past) -> None:
    last = len(past.happenings)
    sorts = [sort for sort in SORTS if "metadata.updatedAt" not in sort] + ["metadata.updatedAt"]

    @at_most(60)
    @given(
        st.integers(0, last + 1),
        st.recursive(comparisons(), conditions, max_leaves=4) | st.just({}),
        st.sampled_from(sorts),
        st.sampled_from([3, 500]),
        st.sampled_from([tuple(Status), ("completed",), ("failed", "queued")]),
    )
    def agree(second: int, asked: Deep, sort: str, limit: int, statuses: Sequence[str]) -> None:
        at = NOON + second * SECOND + timedelta(milliseconds=500)
        scope = from_json({"status": list(statuses)}, field)
        condition = from_json(asked, field)
        found = past.pages(at, condition, limit=limit, sort=sort, scope=scope)
        assert [one.document for one in found] == past.expected(at, asked, sort, statuses)

    agree()


def test_scope_is_compared_with_the_present_executions(past: Past) -> None:
    """Including those with later events."""
    at = NOON + len(past.happenings) * SECOND / 2
    scope = from_json({"status": "completed"}, field)
    shown = [orjson.loads(one.document) for one in past.page(at, EVERYTHING, scope=scope).data]
    assert {one["status"] for one in shown} - {"completed"}
    assert past.page(at, scope).data != past.page(at, EVERYTHING, scope=scope).data
    page = past.page(at, EVERYTHING, limit=1, scope=scope)
    with pytest.raises(Invalid):
        past.page(at, EVERYTHING, limit=1, cursor=page.next_cursor)


def test_event_counts_from_the_exact_time_of_its_recording(past: Past) -> None:
    first = past.events[0].at
    assert len(past.page(first, EVERYTHING).data) == len(states(past.events, first)) > 0
    assert past.page(first - timedelta(milliseconds=1), EVERYTHING).data == []


def test_cursor_of_another_time_is_refused(past: Past) -> None:
    at = NOON + 100 * SECOND
    page = past.page(at, EVERYTHING, limit=1)
    with pytest.raises(Invalid):
        past.page(at + SECOND, EVERYTHING, limit=1, cursor=page.next_cursor)


def test_fields_that_never_change_narrow_the_executions_to_fold(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_lists, "MOST_FOLDED", 3)
    at = NOON + len(past.happenings) * SECOND / 2
    with pytest.raises(TooExpensive) as refused:
        past.page(at, EVERYTHING)
    assert "service" in refused.value.members["indexedFields"]
    with pytest.raises(TooExpensive):
        past.page(at, from_json({"status": "running"}, field))
    asked = {"$id": ["e-01", "e-02", "e-03"], "status": {"$ne": "cancelled"}}
    found = past.page(at, from_json(asked, field), sort="$id")
    assert [one.document for one in found.data] == past.expected(at, asked, "$id")
