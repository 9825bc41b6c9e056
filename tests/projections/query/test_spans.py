"""The span to which a condition limits a field, and the whole days in it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from domain.json_forms import format_time
from projections.executions.columns import field
from projections.query.ast import And
from projections.query.parser import from_json
from projections.query.spans import Limited, Span, between
from tests.support.event_writer import NOON

MIDNIGHT = NOON.replace(hour=0)
DAY, MILLISECOND = timedelta(days=1), timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("since", "until", "days"),
    [
        (None, None, (None, None)),
        (MIDNIGHT, None, (MIDNIGHT, None)),
        (MIDNIGHT + MILLISECOND, None, (MIDNIGHT + DAY, None)),
        (None, NOON, (None, MIDNIGHT)),
        (NOON - DAY, NOON + DAY, (MIDNIGHT, MIDNIGHT + DAY)),
        (MIDNIGHT, MIDNIGHT + DAY, (MIDNIGHT, MIDNIGHT + DAY)),
        (NOON, NOON + DAY, None),
        (NOON, NOON, None),
        (NOON, NOON - 5 * DAY, None),
    ],
)
def test_whole_days_of_a_span_begin_and_end_in_it(
    since: datetime | None, until: datetime | None, days: tuple[datetime | None, ...] | None
) -> None:
    assert Span(since, until).whole_days() == days


def test_condition_is_limited_to_the_narrowest_of_its_spans() -> None:
    noon = format_time(NOON)
    asked = {
        "$and": [{"metadata.createdAt": {"$gte": noon, "$lte": noon}}],
        "metadata.createdAt": {"$gt": "2020-01-01T00:00:00Z"},
        "service": "s-1",
    }
    limited = Limited.by(from_json(asked, field), "created_at")
    assert limited.span == Span(NOON, NOON + MILLISECOND)
    assert limited.condition == And((from_json({"service": "s-1"}, field),))
    assert limited.columns == {"service"}


@pytest.mark.parametrize(
    ("operator", "span"),
    [
        ("$gte", Span(since=NOON)),
        ("$gt", Span(since=NOON + MILLISECOND)),
        ("$lt", Span(until=NOON)),
        ("$lte", Span(until=NOON + MILLISECOND)),
    ],
)
def test_comparison_with_a_time_is_a_span(operator: str, span: Span) -> None:
    asked = {"metadata.createdAt": {operator: format_time(NOON)}}
    assert Limited.by(from_json(asked, field), "created_at").span == span


def test_columns_include_those_of_nested_and_negated_conditions() -> None:
    asked = {"$or": [{"service": "s-1"}, {"$not": {"customer": "c-1"}}]}
    assert Limited.by(from_json(asked, field), "created_at").columns == {"service", "customer"}


def test_edges_of_a_span_are_the_rest_beside_its_whole_days() -> None:
    span = Span(NOON, NOON + 2 * DAY)
    days = span.whole_days()
    assert days is not None
    assert (days.since, days.until) == (MIDNIGHT + DAY, MIDNIGHT + 2 * DAY)
    assert [*span.edges(days)] == [(NOON, days.since), (days.until, NOON + 2 * DAY)]
    assert [*days.edges(days)] == []
    assert days.days() == ("2026-11-23", "2026-11-24")


def test_column_is_compared_only_with_existing_limits() -> None:
    values: list[object] = []
    assert between("day", (None, None), values) == "true"
    assert between("day", ("a", None), values) == "day >= %s"
    assert between("day", ("b", "c"), values) == "day >= %s AND day < %s"
    assert values == ["a", "b", "c"]
