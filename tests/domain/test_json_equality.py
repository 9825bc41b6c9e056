"""Equality of JSON values."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given

from domain.execution.commands import (
    CompleteExecution,
    CompleteStep,
    DeclareSteps,
    PauseExecution,
    StartStep,
    UpdateExecution,
)
from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.lifecycle import ExecutionCompleted, ExecutionPaused
from domain.execution.events.progress import CheckpointSaved
from domain.execution.events.steps import StepCompleted, StepsAdded, StepStarted
from domain.execution.state import Execution
from domain.execution.types import ExecutionResult, StepPlan
from domain.json_equality import same_json
from domain.model import Command, Event
from domain.sealing import Ciphertext
from tests.support import given as history
from tests.support.histories import RUNNING

EQUAL = [
    (1, 1.0),
    (0, -0.0),
    ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}),
    ([], []),
    (None, None),
    ("é", "é"),
    (2**53 + 1, 2**53 + 1),
]
DIFFERENT = [
    (1, True),
    (0, False),
    (0.0, False),
    (0, None),
    ("1", 1),
    ({"a": True}, {"a": 1}),
    ([[{"a": [0]}]], [[{"a": [False]}]]),
    ({"a": 1}, {"a": 1, "b": None}),
    ([1], [1, 1]),
    ([], {}),
    (2**53 + 1, float(2**53)),
]
ERASED = Ciphertext("1.x")
anything = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | st.sampled_from([0.0, 1.0, "", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_json_values_are_the_same(one: Any, other: Any) -> None:
    assert same_json(one, other)
    assert same_json(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_json_values_are_not_the_same(one: Any, other: Any) -> None:
    assert not same_json(one, other)
    assert not same_json(other, one)


@given(anything, anything)
def test_values_are_the_same_exactly_if_their_canonical_texts_are(one: Any, other: Any) -> None:
    assert same_json(one, other) == (canonical(one) == canonical(other))


def canonical(value: Any) -> bytes:
    def as_floats(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: as_floats(inner) for name, inner in part.items()}
        if isinstance(part, list):
            return list(map(as_floats, part))
        return float(part) if isinstance(part, int) and not isinstance(part, bool) else part

    return orjson.dumps(as_floats(value), option=orjson.OPT_SORT_KEYS)


def test_deeply_nested_values_are_compared() -> None:
    one: Any = 1
    other: Any = True
    for _ in range(5_000):
        one, other = [one], [other]
    assert not same_json(one, other)


# A repeat whose free JSON has `1` instead of `true` is another command.
ADDED = StepsAdded(steps=(StepPlan(id="s", name="S", input={"ok": True}),))
STARTED = StepStarted(step="s", input={"ok": True})
REPEATS: list[tuple[tuple[Event, ...], Command[Execution], Command[Execution]]] = [
    (
        (STARTED, StepCompleted(step="s", output={"ok": True})),
        CompleteStep(step="s", output={"ok": True}),
        CompleteStep(step="s", output={"ok": 1}),
    ),
    (
        (STARTED,),
        StartStep(step="s", input={"ok": True}),
        StartStep(step="s", input={"ok": 1}),
    ),
    (
        (ADDED,),
        DeclareSteps(steps=ADDED.steps),
        DeclareSteps(steps=(StepPlan(id="s", name="S", input={"ok": 1}),)),
    ),
    (
        (
            CheckpointSaved(checkpoint="cp-1", state={"ok": True}, step="", progress=0),
            ExecutionPaused(checkpoint="cp-1"),
        ),
        PauseExecution(state={"ok": True}),
        PauseExecution(state={"ok": 1}),
    ),
    (
        (
            ExecutionCompleted(
                success=True, result=ExecutionResult(success=True, output=[True], summary="s")
            ),
        ),
        CompleteExecution(success=True, output=[True], summary="s"),
        CompleteExecution(success=True, output=[1], summary="s"),
    ),
]


@pytest.mark.parametrize(("events", "equal", "different"), REPEATS)
def test_repeat_with_1_instead_of_true_is_refused(
    events: tuple[Event, ...], equal: Command[Execution], different: Command[Execution]
) -> None:
    before = history.given(*RUNNING, *events)
    before.when(equal).then_nothing()
    assert before.when(different).error is not None


def test_update_from_true_to_1_is_recorded() -> None:
    before = history.given(*RUNNING, ExecutionUpdated(metadata={"approved": True}))
    before.when(UpdateExecution(metadata={"approved": 1})).then(
        ExecutionUpdated(metadata={"approved": 1})
    )
    one = history.given(*RUNNING, ExecutionUpdated(metadata={"approved": 1}))
    one.when(UpdateExecution(metadata={"approved": 1.0})).then_nothing()


def test_value_of_an_unknown_type_equals_any_value() -> None:
    assert same_json({"a": [ERASED, 1]}, {"a": [7, 1.0]}, (Ciphertext,))
    assert same_json([7], [ERASED], (Ciphertext,))
    assert not same_json({"a": [ERASED, 1]}, {"a": [7, True]}, (Ciphertext,))
    assert not same_json([7], [ERASED])
