"""SQL of filters where it differs from a plain comparison."""

from __future__ import annotations

from typing import Any

import pytest

from projections.executions.columns import field
from projections.query.parser import from_json
from projections.query.sql import sql


def to_sql(asked: dict[str, Any]) -> tuple[str, list[Any]]:
    values: list[Any] = []
    return sql(from_json(asked, field), values), values


@pytest.mark.parametrize(
    ("operator", "meant"),
    [
        ("$gt", ["high", "urgent"]),
        ("$gte", ["normal", "high", "urgent"]),
        ("$lt", ["low"]),
        ("$lte", ["low", "normal"]),
    ],
)
def test_order_of_words_is_a_list_of_the_matching_words(operator: str, meant: list[str]) -> None:
    where, values = to_sql({"priority": {operator: "normal"}})
    assert "priority = ANY(%s)" in where
    assert values == [meant]


@pytest.mark.parametrize(
    ("operator", "operand", "holds"),
    [
        ("$lt", 1e300, True),
        ("$lte", 1e300, True),
        ("$gt", 1e300, False),
        ("$gte", 1e300, False),
        ("$gt", -1e300, True),
        ("$gte", -1e300, True),
        ("$lt", -1e300, False),
        ("$lte", -1e300, False),
    ],
)
def test_whole_number_field_is_not_compared_with_a_number_out_of_its_range(
    operator: str, operand: float, *, holds: bool
) -> None:
    where, values = to_sql({"version": {operator: operand}})
    assert ("version IS NOT NULL" if holds else "false") in where
    assert values == []


@pytest.mark.parametrize(
    ("operands", "whole"),
    [([2.5], []), ([1e300], []), ([-1e300], []), ([2.0], [2]), ([2.5, 3.0], [3])],
)
def test_whole_number_field_equals_no_fraction_and_no_number_out_of_range(
    operands: list[float], whole: list[int]
) -> None:
    where, values = to_sql({"version": {"$in": operands}})
    assert where == ("(version = %s)" if whole else "(false)")
    assert values == whole


@pytest.mark.parametrize("bound", [2**63 - 1, -(2**63)])
def test_largest_and_smallest_whole_number_are_compared(bound: int) -> None:
    assert to_sql({"version": bound}) == ("(version = %s)", [bound])


def test_fraction_field_is_compared_with_a_fraction() -> None:
    assert to_sql({"progress": {"$gt": 33.3}}) == ("progress > %s", [33.3])


def test_prefix_of_a_tag_and_of_an_attribute_is_a_parameter() -> None:
    where, values = to_sql({"tags": {"$prefix": "e"}})
    assert where == "EXISTS (SELECT FROM unnest(tags) AS tag WHERE tag ^@ %s)"
    assert values == ["e"]
    where, values = to_sql({"metadata.region": {"$prefix": "n"}})
    assert where.endswith(" END ^@ %s)")
    assert values[-1] == "n"


def test_exists_is_written_as_in_the_partial_index() -> None:
    assert to_sql({"metadata.completedAt": {"$exists": True}})[0] == "completed_at IS NOT NULL"
    assert to_sql({"workflow": {"$ne": None}})[0] == "workflow IS NOT NULL"
    assert to_sql({"workflow": {"$ne": "w"}})[0] == "((workflow = %s)) IS NOT TRUE"
    assert to_sql({"tags": {"$exists": True}})[0] == "((tags = '{}')) IS NOT TRUE"
    assert "IS NOT TRUE" in to_sql({"metadata.region": {"$exists": True}})[0]


@pytest.mark.parametrize(("number", "looked_up"), [(32, True), (33, False)])
def test_at_most_32_values_of_an_attribute_are_looked_up_in_its_index(
    number: int, *, looked_up: bool
) -> None:
    where, _ = to_sql({"metadata.amount": {"$in": [*range(number)]}})
    assert ("@> ANY" in where) is looked_up


def test_single_value_of_an_attribute_is_looked_up_alone() -> None:
    assert to_sql({"metadata.amount": 5}) == ("(metadata @> %s::jsonb)", ['{"amount":5}'])


@pytest.mark.parametrize(("operator", "bound"), [("$gt", 2), ("$gte", 3), ("$lt", 3), ("$lte", 2)])
def test_fraction_is_rounded_to_the_next_whole_number(operator: str, bound: int) -> None:
    _, values = to_sql({"version": {operator: 2.5}})
    assert values == [bound]
