"""A condition written as JSON is parsed to an equal condition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.executions.columns import field
from projections.query.as_json import as_json
from projections.query.ast import EVERYTHING, Condition, Or
from projections.query.matcher import matches
from projections.query.parser import from_json

VALUES = st.sampled_from(
    [
        {"status": {"$in": ["running", "failed"]}},
        {"customer": "acme"},
        {"provider": None},
        {"tags": "eu"},
        {"progress": {"$gte": 4.5}},
        {"metadata.createdAt": {"$lt": "2026-11-22T08:00:00.000Z"}},
        {"metadata.createdAt": {"$in": ["2026-11-22T08:00:00.000Z", None]}},
        {"metadata.region": {"$prefix": "no"}},
        {"metadata.approved": True},
        {'metadata["a.b"]': 3},
        {"order": {"$nin": ["o-1"]}},
        {},
    ]
)
FILTERS = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=8,
)


@given(FILTERS)
def test_condition_as_json_is_parsed_to_an_equal_condition(document: object) -> None:
    condition = from_json(document, field)
    assert from_json(as_json(condition), field) == condition


@pytest.mark.parametrize(("condition", "met"), [(EVERYTHING, True), (Or(()), False)])
def test_conditions_that_match_all_or_nothing_round_trip(condition: Condition, met: bool) -> None:
    again = from_json(as_json(condition), field)
    assert matches(again, lambda _: None) is met
