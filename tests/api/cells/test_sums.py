"""Sums of analytics over several logs have the form of those of one log."""

from __future__ import annotations

from typing import Any

from api.cells.sums import add_up
from projections.representations.client_json import plain_json
from projections.representations.exact_json import exact_json

NOTHING: dict[str, Any] = {
    "total": 0,
    "statuses": {"completed": 0, "failed": 0},
    "duration": {"count": 0, "mean": None, "max": None},
    "totalCost": 0,
    "tokens": 0,
    "apiCalls": 0,
    "errorCodes": {},
}


def figures(completed: int, failed: int = 0, **more: Any) -> dict[str, Any]:
    statuses = {"completed": completed, "failed": failed}
    return {**NOTHING, "total": completed + failed, "statuses": statuses, **more}


def test_success_rate_of_all_or_none_has_no_fraction() -> None:
    found = [add_up([figures(*one), figures(*one)])["successRate"] for one in ((1,), (0, 1), (0,))]
    assert [(rate, type(rate)) for rate in found] == [(1, int), (0, int), (None, type(None))]
    assert add_up([figures(1), figures(0, 1)])["successRate"] == 0.5


def test_groups_are_named_and_in_the_order_of_one_log() -> None:
    keys: list[Any] = ["a-b", "a", "é", None]
    answers = [
        figures(0, by="order", groups=[{"key": key, **NOTHING} for key in some])
        for some in (keys[:2], keys[1:])
    ]
    found = add_up(answers)
    assert (found["by"], [group["key"] for group in found["groups"]]) == (
        "order",
        [None, "a", "a-b", "é"],
    )


def test_groups_by_two_keys_are_in_the_order_of_one_log() -> None:
    keys = [["a", "X"], ["a", "UNKNOWN"], ["a", "A"]]
    groups = [{"key": key, **NOTHING} for key in keys]
    found = add_up([figures(0, by=["service", "errorCode"], groups=groups)])
    assert [group["key"][1] for group in found["groups"]] == ["UNKNOWN", "A", "X"]


def test_costs_beyond_the_precision_of_a_float_are_added_exactly() -> None:
    text = plain_json(figures(1)).replace(b'"totalCost":0', b'"totalCost":12345678901234567.01')
    assert b'"totalCost":24691357802469134.02' in plain_json(add_up([exact_json(text)] * 2))
