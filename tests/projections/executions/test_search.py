"""Every way to find the rows of a page gives the same page; the way depends on how common the values are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from projections.executions import page_query, search
from projections.executions.columns import FIELDS, field, sortable
from projections.executions.page_query import Way
from projections.executions.projection import FIRST_SORT_VALUE
from projections.executions.search import Rows, Search
from projections.query import pagination
from projections.query.ast import Compare
from projections.query.parser import from_json
from tests.projections.query.test_filters import Sample

LOOK_UP, PLANNED, WALK = Way.LOOK_UP, Way.PLANNED, Way.WALK
MANY = [f"no-{number}" for number in range(99)]
ASKED: list[dict[str, Any]] = [
    {"assignee.type": "human"},
    {"assignee.id": {"$in": ["a-1", "b", "c"]}, "status": {"$not": "running"}},
    {"priority": "high"},
    {"metadata.region": "north"},
    {"metadata.amount": {"$gte": 5}},
    {"$or": [{"assignee.type": "system"}, {"metrics.cost": {"$gt": 0}}]},
    {"workflow": None},
    {"retryPolicy.backoff": {"$exists": True}},
    {"assignee.id": "nobody"},
]
SORTS = ["-metadata.createdAt", "metrics.duration", "-metadata.completedAt", "-metadata.startedAt"]


@pytest.fixture(scope="module")
def known(module_views: str) -> Iterator[Sample]:
    made = Sample(module_views)
    yield made
    made.close()


def ids(rows: Rows) -> list[str]:
    return [row[2] for row in rows if row[2] is not None]


def sort_values(row: tuple[Any, ...]) -> list[Any]:
    return list(row[FIRST_SORT_VALUE:])


def pages_of_one_row(known: Sample, asked: dict[str, Any], sort: str) -> list[str]:
    """All pages, of one row each."""
    condition, keys = from_json(asked, field), pagination.order(sort, sortable, FIELDS)
    found: list[str] = []
    after = None
    while rows := known.run(Search(condition, keys, after, 1).rows(known.connection)):
        if rows[0][1] is None:
            break
        found += ids(rows)
        after = sort_values(rows[0])
    return found


@pytest.mark.parametrize("walked", [0, 3, 2_000])
@pytest.mark.parametrize("most", [0, 3_000])
def test_pages_are_the_same_by_every_way(
    known: Sample, monkeypatch: pytest.MonkeyPatch, walked: int, most: int
) -> None:
    monkeypatch.setattr(page_query, "WALK", page_query.WALK.replace("2000", str(walked)))
    monkeypatch.setattr(search, "MOST_LOOKED_UP", most)
    for asked, sort in product(ASKED, SORTS):
        condition, keys = from_json(asked, field), pagination.order(sort, sortable, FIELDS)
        planned = known.run(Search(condition, keys, None, 500)._read(known.connection, PLANNED))
        assert set(ids(planned)) == known.matched(condition)
        assert pages_of_one_row(known, asked, sort) == ids(planned), (asked, sort)


@pytest.mark.parametrize(
    ("asked", "sort", "ways"),
    [
        ({}, "-metadata.createdAt", [PLANNED]),
        ({"assignee.type": "human"}, "-metadata.createdAt", [LOOK_UP]),
        ({"priority": "high"}, "-metadata.createdAt", [WALK]),
        ({"metadata.region": "north"}, "-metrics.cost", [WALK]),
        ({"assignee.id": "nobody"}, "-metadata.createdAt", []),
        ({"assignee.id": {"$in": ["nobody", None]}}, "metrics.cost", [WALK]),
        ({"assignee.id": {"$in": MANY}}, "position", []),
        ({"metadata.region": "nowhere"}, "-metadata.createdAt", [WALK, PLANNED]),
        ({"metrics.cost": {"$gt": 1e9}}, "-metadata.createdAt", [PLANNED]),
        ({"$not": {"metadata.amount": {"$gt": 1e9}}}, "-metadata.createdAt", [WALK]),
        ({"$or": [{"workflow": "x"}, {"metrics.cost": 7}]}, "-metadata.createdAt", [WALK, PLANNED]),
        ({"service": "s-0", "assignee.id": "nobody"}, "-metadata.createdAt", [PLANNED]),
        ({"service": "s-0"}, "-metadata.createdAt", [PLANNED]),
        ({"service": "s-0"}, "-metrics.cost", [WALK]),
        ({"error.code": "nowhere"}, "-metrics.cost", [PLANNED]),
        ({"error.code": "nowhere"}, "-metadata.createdAt", [PLANNED]),
        ({"assignee.type": "human"}, "version", [PLANNED]),
        ({"assignee.type": "human"}, "priority,-metrics.cost", [PLANNED]),
    ],
)
def test_common_values_are_found_in_sort_order_and_rare_ones_by_their_index(
    known: Sample,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    sort: str,
    ways: list[Way],
) -> None:
    tried: list[Way] = []
    read = Search._read

    async def note_call(one: Search, connection: Any, way: Way) -> Rows:
        tried.append(way)
        return await read(one, connection, way)

    monkeypatch.setattr(Search, "_read", note_call)
    keys = pagination.order(sort, sortable, FIELDS)
    known.run(Search(from_json(asked, field), keys, None, 2).rows(known.connection))
    assert tried == ways


def test_common_value_is_not_looked_up(known: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ("human", {"$in": ["human", *map(str, range(20))]}):
        condition = from_json({"assignee.type": asked}, field)
        assert isinstance(condition, Compare)
        keys = pagination.order("-metadata.createdAt", sortable, FIELDS)
        found = Search(condition, keys, None, 2)
        assert known.run(found._look_up(known.connection, condition)) is not None
        with monkeypatch.context() as patch:
            patch.setattr(search, "MOST_LOOKED_UP", 0)
            assert known.run(found._look_up(known.connection, condition)) is None
