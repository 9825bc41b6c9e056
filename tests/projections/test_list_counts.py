"""Totals and facets of lists are the same from stored totals and by counting rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from psycopg import AsyncConnection

from projections import list_counts
from projections.analytics import totals
from projections.analytics.projection import Analytics
from projections.engine.follower import Follower
from projections.engine.migrations import migrate_projections
from projections.engine.pages import LogPages
from projections.executions import facets
from projections.executions.columns import field
from projections.query.parser import from_json
from tests.projections.query.test_filters import NOW, Sample
from tests.support.event_writer import new_store

DAYS = {"$gte": "2026-11-22T00:00:00Z", "$lt": "2026-11-23T00:00:00Z"}
DATED = {"metadata.createdAt": DAYS}
FROM_TOTALS: list[dict[str, Any]] = [
    {},
    {"status": "completed"},
    {"status": ["completed", "failed"]},
    {"service": "s-1"},
    {"customer": ["c-1", "c-2"], "status": "completed"},
    {"provider": "p-1"},
    DATED,
    DATED | {"status": "completed"},
    {"service": "nowhere"},
]
COUNTED: list[dict[str, Any]] = [
    {"service": "s-1", "customer": "c-1"},
    {"metadata.createdAt": DAYS | {"$lt": "2026-11-22T13:00:00Z"}},
    DATED | {"customer": "c-1"},
    {"metadata.createdAt": {"$gte": "9999-12-31T23:59:59.999Z"}},
    {"workflow": "w-1"},
    {"service": {"$ne": "s-1"}},
    {"service": {"$prefix": "s"}},
    {"$or": [{"service": "s-1"}, {"status": "completed"}]},
    {"status": {"$gte": "completed"}},
]
WRONG = "UPDATE analytics_totals SET executions = executions + %(by)s"
WRONG_BESIDE_ROWS = "UPDATE execution_totals SET executions = executions + %(by)s"
MOVE = "UPDATE bookmarks SET position = position + %(by)s WHERE view = 'analytics'"


@pytest.fixture(scope="module")
def known(module_views: str) -> Iterator[Sample]:
    made = Sample(module_views)
    migrate_projections(module_views, "executions", [Analytics()])

    async def follow() -> None:
        store = new_store(module_views)
        await store.open()
        follower = Follower(Analytics(), LogPages(store, Analytics.types))
        while await follower.catch_up(made.connection):
            pass
        await store.close()

    made.run(follow())
    yield made
    made.close()


def page(known: Sample, asked: dict[str, Any]) -> tuple[int | None, Any]:
    fields = facets.parse_fields(["status", "service", "workflow", "customer"])
    condition = from_json(asked, field)
    found, counts = known.run(
        list_counts.find_and_count(
            known.view, known.connection, NOW, condition, fields, count=True, limit=1
        )
    )
    return found.total, counts


def count_rows(known: Sample, asked: dict[str, Any]) -> tuple[int, Any]:
    condition = from_json(asked, field)
    fields = facets.parse_fields(["status", "service", "workflow", "customer"])
    return (
        known.run(known.view.count(known.connection, condition)),
        known.run(facets.count_values(known.connection, fields, condition)),
    )


@pytest.mark.parametrize("asked", [*FROM_TOTALS, *COUNTED], ids=str)
def test_counts_equal_those_of_the_rows(known: Sample, asked: dict[str, Any]) -> None:
    assert page(known, asked) == count_rows(known, asked)


@pytest.mark.parametrize("asked", FROM_TOTALS[:-1], ids=str)
def test_stored_totals_by_status_are_read_if_they_are_as_recent_as_the_list(
    known: Sample, asked: dict[str, Any]
) -> None:
    before = count_rows(known, asked)
    with run_for_a_while(known, WRONG, 1000):
        found = page(known, asked)
        assert found[1]["status"]["values"][0]["count"] >= 1000
        assert found[1]["workflow"] == before[1]["workflow"]
        assert "status" not in asked or (found[0] or 0) >= before[0] + 1000
        with run_for_a_while(known, MOVE, -1):
            assert page(known, asked) == before


@pytest.mark.parametrize("asked", [{}, {"service": "s-1", "customer": "c-1"}, DATED], ids=str)
def test_stored_totals_of_constant_fields_are_read_at_any_lag_of_the_others(
    known: Sample, asked: dict[str, Any]
) -> None:
    before = count_rows(known, asked)
    with (
        run_for_a_while(known, WRONG_BESIDE_ROWS, 1000),
        run_for_a_while(known, MOVE, -1),
    ):
        found = page(known, asked)
    assert (found[0] or 0) >= before[0] + 1000
    assert found[1]["service"] != before[1]["service"]
    assert found[1]["status"] == before[1]["status"]


class Meanwhile:
    """A connection: after its first statement, the stored totals catch up with the list."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._moved = False

    async def execute(self, *asked: Any, **options: Any) -> Any:
        found = await self._connection.execute(*asked, **options)
        if not self._moved:
            self._moved = True
            await self._connection.execute(MOVE.encode(), {"by": 1})
        return found


def test_totals_that_catch_up_while_they_are_read_do_not_count_as_missing(known: Sample) -> None:
    condition = from_json({}, field)
    position = known.run(known.view.find(known.connection, NOW, condition, limit=1)).position
    known.run(known.connection.execute(MOVE.encode(), {"by": -1}))
    meanwhile = cast(AsyncConnection, Meanwhile(known.connection))
    assert known.run(totals.counts(meanwhile, condition, "status", position)) is None
    assert known.run(totals.counts(known.connection, condition, "status", position))


@contextmanager
def run_for_a_while(known: Sample, change: str, by: int) -> Iterator[None]:
    """Other tests of the module find everything unchanged."""
    known.run(known.connection.execute(change.encode(), {"by": by}))
    try:
        yield
    finally:
        known.run(known.connection.execute(change.encode(), {"by": -by}))


@pytest.mark.parametrize("asked", COUNTED, ids=str)
def test_slice_of_another_condition_is_none(asked: dict[str, Any]) -> None:
    assert totals.slice_of(from_json(asked, field)) is None


def test_rarest_values_of_stored_totals_are_summed_as_the_rest() -> None:
    counts = {f"v-{number:02}": number // 2 + 1 for number in range(facets.MOST_VALUES + 3)}
    facet = facets.of_counts(counts)
    assert [one["value"] for one in facet["values"][:3]] == ["v-52", "v-50", "v-51"]
    assert len(facet["values"]) == facets.MOST_VALUES
    assert facet["rest"] == {"values": 3, "count": 1 + 1 + 2}
