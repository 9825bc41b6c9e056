"""The SQL of a filter, where it is not just the comparison that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from projections.executions.columns import field
from projections.query.parser import from_json
from projections.query.sql import sql


def made(asked: dict[str, Any]) -> tuple[str, list[Any]]:
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
def test_order_of_words_is_a_choice_of_the_words_that_are_meant(
    operator: str, meant: list[str]
) -> None:
    where, values = made({"priority": {operator: "normal"}})
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
def test_whole_number_is_not_compared_with_what_no_whole_number_reaches(
    operator: str, operand: float, *, holds: bool
) -> None:
    where, values = made({"version": {operator: operand}})
    assert ("version IS NOT NULL" if holds else "false") in where
    assert values == []


@pytest.mark.parametrize(("operator", "bound"), [("$gt", 2), ("$gte", 3), ("$lt", 3), ("$lte", 2)])
def test_whole_number_is_compared_with_the_next_whole_number(operator: str, bound: int) -> None:
    _, values = made({"version": {operator: 2.5}})
    assert values == [bound]
