"""Comparison of two executions: the matching of their steps, and where they diverge."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from domain.sealing import Ciphertext
from projections.history.compare import compare
from projections.representations.client_json import plain_json
from projections.representations.execution import document
from tests.support.random_executions import creations, walk, ways

Json = dict[str, Any]


def execution(*steps: Json, **metrics: Any) -> Json:
    return {"$id": "e", "version": 1, "status": "completed", "metrics": metrics, "steps": [*steps]}


def step(id_: str, name: str | None = None, **members: Any) -> Json:
    return {"id": id_, "name": name or id_, "status": "completed", **members}


def match_steps(
    *these: Json, others: list[Json]
) -> list[tuple[str | None, str | None, str | None]]:
    rows = compare(execution(*these), execution(*others))["steps"]
    return [
        (row["this"] and row["this"]["id"], row["with"] and row["with"]["id"], row["matchedBy"])
        for row in rows
    ]


def divergences(this: Json, other: Json) -> list[str]:
    ((row),) = compare(execution(this), execution(other))["steps"]
    found: list[str] = row["differs"]
    return found


def test_steps_are_matched_by_id_and_then_by_name() -> None:
    these = [step("a", "Read"), step("b", "Send"), step("c", "Send")]
    others = [step("x", "Send"), step("a", "Look"), step("y", "Send"), step("z", "Send")]
    assert match_steps(*these, others=others) == [
        ("a", "a", "id"),
        ("b", "x", "name"),
        ("c", "y", "name"),
        (None, "z", None),
    ]


def test_unmatched_steps_stay_in_their_order() -> None:
    others = [step("n"), step("a"), step("m"), step("c"), step("o")]
    assert match_steps(step("a"), step("b"), step("c"), others=others) == [
        (None, "n", None),
        ("a", "a", "id"),
        ("b", None, None),
        (None, "m", None),
        ("c", "c", "id"),
        (None, "o", None),
    ]


def test_outcomes_are_compared_by_their_json() -> None:
    assert (
        divergences(step("a", output={"n": [1, True]}), step("a", output={"n": [1.0, True]})) == []
    )
    assert divergences(step("a", output=1), step("a", output=True)) == ["output"]
    assert divergences(step("a", input={}), step("a")) == ["input"]
    assert divergences(step("a", "Read"), step("a", "Look", status="failed")) == ["name", "status"]


def test_erased_content_is_not_compared() -> None:
    erased = Ciphertext("1.x")
    assert divergences(step("a", output=erased), step("a", output=7)) == []


def test_times_and_durations_are_not_compared() -> None:
    early = step("a", startedAt="2026-11-22T08:00:00.000Z", duration=5)
    found = compare(execution(early), execution(step("a", duration=9)))
    assert found["firstDivergence"] is None
    assert found["steps"][0]["difference"] == {"duration": 4}


def test_first_divergence_is_at_the_first_differing_step() -> None:
    these = [step("a"), step("b", output=1), step("c", output=1)]
    others = [step("a"), step("b", output=2), step("c", output=2)]
    parted = compare(execution(*these), execution(*others))["firstDivergence"]
    assert (parted["index"], parted["this"]["id"], parted["differs"]) == (1, "b", ["output"])


def test_step_missing_on_either_side_is_a_divergence() -> None:
    parted = compare(execution(step("a")), execution(step("a"), step("b")))["firstDivergence"]
    assert (parted["index"], parted["this"], parted["differs"]) == (1, None, ["presence"])


def test_moved_step_is_reported_as_out_of_order() -> None:
    rows = compare(execution(step("a"), step("b")), execution(step("b"), step("a")))["steps"]
    assert [row["differs"] for row in rows] == [[], ["order"]]


def test_differences_are_the_other_value_minus_this_one() -> None:
    one = execution(duration=1_000, cost=0.3, tokensUsed=10)
    other = execution(duration=800, cost=0.1, tokensUsed=25, activeDuration=5)
    found = compare(one, other)
    assert found["difference"] == {"duration": -200, "cost": -0.2, "tokensUsed": 15}
    assert found["this"]["cost"] == 0.3
    assert found["with"]["activeDuration"] == 5


@pytest.mark.parametrize(
    ("this", "other", "difference"),
    [
        (0.1, 0.1, b"0"),
        (1.1, 2.1, b"1"),
        (Decimal("0.300000000000000000010000000001"),) * 2 + (b"0",),
        (0.3, Decimal("0.30000000000000000001"), b"1e-20"),
    ],
)
def test_difference_of_costs_is_exact_and_whole_numbers_have_no_fraction(
    this: float | Decimal, other: float | Decimal, difference: bytes
) -> None:
    found = compare(execution(cost=this), execution(cost=other))
    assert b'"difference":{"cost":%b}' % difference in plain_json(found)


@given(creations, ways, st.data())
def test_every_step_of_both_is_shown_once_and_an_execution_equals_itself(
    creation: Any, way: list[Any], data: st.DataObject
) -> None:
    versions = [document(versioned, versioned.at) for versioned in walk(creation, way).states]
    this, other = data.draw(st.sampled_from(versions)), data.draw(st.sampled_from(versions))
    rows = compare(this, other)["steps"]
    for name, shown in (("this", this), ("with", other)):
        ids = [row[name]["id"] for row in rows if row[name]]
        assert sorted(ids) == sorted(step["id"] for step in shown["steps"])
    alike = compare(this, this)
    assert alike["firstDivergence"] is None
    assert not any(any(row["difference"].values()) for row in alike["steps"])
