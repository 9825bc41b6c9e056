"""A condition that is kept as JSON is the same condition when it is read again."""

from __future__ import annotations

from typing import Any

import pytest

from projections.executions.columns import field
from projections.query.ast import EVERYTHING, Condition, Or
from projections.query.json_form import filter_of
from projections.query.matcher import matches
from projections.query.parser import from_json

FILTERS: list[dict[str, Any]] = [
    {"customer": "c-1"},
    {"customer": ["c-1", None]},
    {"$or": [{"assignee.id": "ann"}, {"claimedBy.worker": "ann"}]},
    {"$and": [{"status": {"$ne": "failed"}}, {"$not": {"tag": "eu"}}]},
    {"metadata.createdAt": {"$gte": "2026-11-22T12:00:00.000Z"}, "metrics.cost": {"$lt": 2.5}},
    {"metadata.region": {"$in": ["north", 5, True]}, "order": {"$prefix": "o-"}},
    {"$id": ["e-1", "e-2"], "progress": {"$exists": True}},
]


@pytest.mark.parametrize("wanted", FILTERS)
def test_filter_of_a_condition_reads_as_that_condition(wanted: dict[str, Any]) -> None:
    condition = from_json(wanted, field)
    assert from_json(filter_of(condition), field) == condition


@pytest.mark.parametrize(("condition", "met"), [(EVERYTHING, True), (Or(()), False)])
def test_everything_and_nothing_stay_what_they_are(condition: Condition, met: bool) -> None:
    again = from_json(filter_of(condition), field)
    assert matches(again, lambda _: None) is met
