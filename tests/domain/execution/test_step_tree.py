"""Steps below other steps."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from domain.errors import AlreadyExists, IllegalTransition
from domain.execution.commands import CreateExecution, DeclareSteps, StartStep
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.steps import StepsAdded, StepStarted
from domain.execution.types import StepPlan
from projections.representations.execution import document
from tests.support.given import Given, given
from tests.support.histories import ORDER, RUNNING, SERVICE

AGENT = StepPlan(id="agent", name="Agent", kind="agent")
TOOL = StepPlan(id="tool", name="Tool", parent="agent", kind="tool")
MODEL = StepPlan(id="model", name="Model", parent="tool", kind="model")
CREATING = given().knowing(order__o_1=ORDER, service__s_1=SERVICE)


def working(*plans: StepPlan) -> Given:
    return given(*RUNNING, StepsAdded(steps=plans)) if plans else given(*RUNNING)


def create(*plans: StepPlan) -> CreateExecution:
    return CreateExecution(order="o-1", service="s-1", steps=plans)


def chain(*links: tuple[str, str | None]) -> tuple[StepPlan, ...]:
    return tuple(StepPlan(id=id_, name=id_, parent=parent) for id_, parent in links)


def test_steps_are_declared_in_any_order() -> None:
    after = working().when(DeclareSteps(steps=(MODEL, TOOL, AGENT)))
    steps = after.then(StepsAdded(steps=(MODEL, TOOL, AGENT))).state.steps
    assert {id_: (step.parent, step.kind) for id_, step in steps.items()} == {
        "model": ("tool", "model"),
        "tool": ("agent", "tool"),
        "agent": (None, "agent"),
    }


def test_declared_step_may_have_an_existing_parent() -> None:
    working(AGENT).when(DeclareSteps(steps=(TOOL,))).then(StepsAdded(steps=(TOOL,)))


def test_execution_is_created_with_its_tree_of_steps() -> None:
    created, *_ = CREATING.when(create(AGENT, TOOL)).events
    assert isinstance(created, ExecutionCreated)
    assert created.steps == (AGENT, TOOL)


@pytest.mark.parametrize(
    ("plans", "path"),
    [
        (chain(("a", "nowhere")), "steps.0.parent"),
        (chain(("a", None), ("b", "b")), "steps.1.parent"),
        (chain(("x", None), ("a", "c"), ("b", "a"), ("c", "b")), "steps.1.parent"),
        (chain(("top", "a"), ("a", "b"), ("b", "a")), "steps.0.parent"),
    ],
)
def test_unknown_or_circular_parent_is_refused(plans: tuple[StepPlan, ...], path: str) -> None:
    working().when(DeclareSteps(steps=plans)).refused_field(path)
    CREATING.when(create(*plans)).refused_field(path)


def test_long_chain_of_parents_is_no_circle() -> None:
    links = chain(("s0", None), *((f"s{n}", f"s{n - 1}") for n in range(1, 5_000)))
    working().when(DeclareSteps(steps=links[::-1])).then(StepsAdded(steps=links[::-1]))


def test_undeclared_step_is_started_with_its_parent_and_kind() -> None:
    command = StartStep(step="tool", parent="agent", kind="tool")
    after = working(AGENT).when(command).then(StepStarted(step="tool", parent="agent", kind="tool"))
    assert (after.state.steps["tool"].parent, after.state.steps["tool"].kind) == ("agent", "tool")
    after.when(command).then_nothing()
    after.when(StartStep(step="tool", parent="agent", kind="model")).refused(IllegalTransition)
    after.when(StartStep(step="tool", parent="other")).refused(IllegalTransition)


@pytest.mark.parametrize("parent", ["nowhere", "tool"])
def test_started_step_needs_an_existing_parent(parent: str) -> None:
    working(AGENT).when(StartStep(step="tool", parent=parent)).refused_field("parent")


def test_declared_step_keeps_its_parent_and_kind_when_started() -> None:
    declared = working(AGENT, TOOL, MODEL)
    after = declared.when(StartStep(step="tool", parent="agent")).then(
        StepStarted(step="tool", parent="agent")
    )
    assert after.state.steps["tool"].kind == "tool"
    declared.when(StartStep(step="tool", parent="model")).refused_field("parent")
    declared.when(StartStep(step="agent", parent="tool")).refused_field("parent")
    declared.when(StartStep(step="tool", kind="human")).refused_field("kind")
    for step, parent, known in (
        ("tool", "model", "with `agent`"),
        ("agent", "tool", "without one"),
    ):
        error = declared.when(StartStep(step=step, parent=parent)).error
        assert error is not None
        assert error.members["errors"][0]["message"].endswith(f"was declared {known}")


def test_started_step_is_not_its_own_parent() -> None:
    error = working(AGENT).when(StartStep(step="new", name="New", parent="new")).error
    assert error is not None
    assert error.members["errors"] == [
        {"path": "parent", "message": "makes a circle: `new` would be part of itself"}
    ]


def test_declaring_a_step_below_another_parent_is_refused() -> None:
    moved = StepPlan(id="tool", name="Tool", parent="model", kind="tool")
    working(AGENT, TOOL, MODEL).when(DeclareSteps(steps=(moved,))).refused(AlreadyExists)


def test_unknown_step_kind_is_refused() -> None:
    with pytest.raises(ValidationError):
        StepPlan.model_validate_json('{"id": "a", "name": "A", "kind": "robot"}')


def test_steps_show_parent_and_kind() -> None:
    history = working(AGENT, TOOL)
    shown = document(history.versioned, history.now)["steps"]
    assert shown == [
        {"id": "agent", "name": "Agent", "status": "pending", "kind": "agent"},
        {"id": "tool", "name": "Tool", "status": "pending", "parent": "agent", "kind": "tool"},
    ]
