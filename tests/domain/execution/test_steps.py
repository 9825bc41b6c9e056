"""Commands on the steps of an execution, by the status of the step."""

from __future__ import annotations

import pytest

from domain.errors import AlreadyExists, IllegalTransition, NotFound
from domain.execution.commands import (
    CompleteStep,
    DeclareSteps,
    FailStep,
    SkipStep,
    StartStep,
)
from domain.execution.events.lifecycle import ExecutionFailed
from domain.execution.events.steps import (
    StepCompleted,
    StepFailed,
    StepsAdded,
    StepSkipped,
    StepStarted,
    UsageRecorded,
)
from domain.execution.state import Execution
from domain.execution.transitions import STEP_TRANSITIONS
from domain.execution.types import ExecutionError, StepPlan, StepStatus, Usage
from domain.model import Command, Event
from domain.types import StepAssignee
from tests.support.given import Given, given
from tests.support.histories import BROKEN, CREATED, RUNNING, STARTED, STARTING, WAITING

RESEARCH = StepPlan(id="research", name="Research")
WRITE = StepPlan(id="write", name="Write", assignee=StepAssignee(type="human"))
ADDED = StepsAdded(steps=(RESEARCH, WRITE))
BEGUN = StepStarted(step="research", input={"topic": "bees"})
ERROR = ExecutionError(code="X", message="x", step="research")

STEPS: dict[StepStatus, tuple[Event, ...]] = {
    StepStatus.PENDING: (ADDED,),
    StepStatus.RUNNING: (ADDED, BEGUN),
    StepStatus.COMPLETED: (ADDED, BEGUN, StepCompleted(step="research", output=7)),
    StepStatus.FAILED: (ADDED, BEGUN, StepFailed(step="research", error=ERROR)),
    StepStatus.SKIPPED: (ADDED, StepSkipped(step="research", reason="no time")),
}
EQUAL: dict[str, Command[Execution]] = {
    "startStep": StartStep(step="research", name="Research", input={"topic": "bees"}),
    "completeStep": CompleteStep(step="research", output=7),
    "failStep": FailStep(step="research", code="X", message="x"),
    "skipStep": SkipStep(step="research", reason="no time"),
}
DIFFERENT: dict[str, Command[Execution]] = {
    "startStep": StartStep(step="research", input={"topic": "wasps"}),
    "completeStep": CompleteStep(step="research", output=8),
    "failStep": FailStep(step="research", code="Y", message="x"),
    "skipStep": SkipStep(step="research"),
}
TABLE = """
| command      | pending   | running   | completed | failed    | skipped   |
| startStep    | running   | =         |           | running   | running   |
| completeStep |           | completed | =         |           |           |
| failStep     |           | failed    |           | =         |           |
| skipStep     | skipped   | skipped   |           | skipped   | =         |
"""


def cells() -> list[tuple[str, StepStatus, str]]:
    heading, *rows = ([c.strip() for c in row.split("|")[1:-1]] for row in TABLE.split("\n")[1:-1])
    return [
        (row[0], StepStatus(status), cell)
        for row in rows
        for status, cell in zip(heading[1:], row[1:], strict=True)
    ]


def working(*events: Event) -> Given:
    return given(*RUNNING, *events)


@pytest.mark.parametrize(("command", "status", "cell"), cells())
def test_command_follows_its_cell_in_the_table(command: str, status: StepStatus, cell: str) -> None:
    outcome = working(*STEPS[status]).when(EQUAL[command])
    if cell == "":
        outcome.refused(IllegalTransition, step="research", stepStatus=status, status="running")
        assert str(outcome.error) == f"`{command}` is not possible: the step is {status}."
        assert outcome.error is not None
        possible = {word for word, at, c in cells() if at is status and c not in {"", "="}}
        allowed = set(outcome.error.members["allowedCommands"])
        assert allowed & set(EQUAL) == possible
        assert "complete" in allowed  # that is for no step
        return
    after = outcome.then(*outcome.events)
    assert (outcome.events == ()) == (cell == "=")
    assert after.state.steps["research"].status == (status if cell == "=" else cell)


@pytest.mark.parametrize(("command", "status"), [(c, s) for c, s, cell in cells() if cell == "="])
def test_repeat_with_another_payload_is_refused(command: str, status: StepStatus) -> None:
    outcome = working(*STEPS[status]).when(DIFFERENT[command])
    outcome.refused(IllegalTransition, stepStatus=status)
    said = f"`{command}` was done already, with other content: the step is {status}."
    assert str(outcome.error) == said


def test_table_of_transitions_equals_the_documented_one() -> None:
    ours = {(command, status): cell or "." for command, status, cell in cells()}
    assert ours == {(c, s): cell for c, row in STEP_TRANSITIONS.items() for s, cell in row.items()}


def test_steps_keep_the_order_in_which_they_were_declared() -> None:
    after = working().when(DeclareSteps(steps=(RESEARCH, WRITE))).then(ADDED)
    after = after.when(StartStep(step="extra")).then(StepStarted(step="extra"))
    after = after.when(StartStep(step="write")).then(StepStarted(step="write"))
    assert list(after.state.steps) == ["research", "write", "extra"]
    assert after.state.steps["extra"].name == "extra"
    assert after.state.steps["write"].assignee == WRITE.assignee


def test_repeated_declaration_adds_only_new_steps() -> None:
    new = StepPlan(id="send", name="Send")
    after = working(ADDED).when(DeclareSteps(steps=(WRITE, new))).then(StepsAdded(steps=(new,)))
    after.when(DeclareSteps(steps=(WRITE, new))).then_nothing()


def test_declaring_another_step_under_an_existing_id_is_refused() -> None:
    other = StepPlan(id="write", name="Type")
    working(ADDED).when(DeclareSteps(steps=(other,))).refused(AlreadyExists, step="write")


def test_repeated_id_in_a_list_of_steps_is_refused() -> None:
    working().when(DeclareSteps(steps=(RESEARCH, RESEARCH))).refused_field("steps.1.id")


def test_steps_beyond_the_limit_are_refused() -> None:
    plans = tuple(StepPlan(id=f"s{n}", name="s") for n in range(10_000))
    full = working(StepsAdded(steps=plans))
    full.when(StartStep(step="one more")).refused_field("steps")
    full.when(DeclareSteps(steps=(RESEARCH,))).refused_field("steps")


@pytest.mark.parametrize("command", ["completeStep", "failStep", "skipStep"])
def test_missing_step_is_not_found(command: str) -> None:
    working().when(EQUAL[command]).refused(NotFound, step="research")


def test_step_shows_its_duration_and_usage() -> None:
    command = CompleteStep(step="research", output=7, usage=Usage(tokens_used=9, model="m"))
    after = (
        working(ADDED, BEGUN)
        .when(command)
        .then(
            UsageRecorded(tokens_used=9, model="m", step="research"),
            StepCompleted(step="research", output=7),
        )
    )
    step = after.state.steps["research"]
    assert step.used.tokens_used == 9
    assert step.completed_at == after.now
    after.when(command).then_nothing()


def test_failed_step_is_started_again() -> None:
    failed = working(*STEPS[StepStatus.FAILED])
    after = failed.when(StartStep(step="research")).then(StepStarted(step="research"))
    step = after.state.steps["research"]
    assert (step.error, step.completed_at, step.input) == (None, None, {"topic": "bees"})
    assert step.started_at == after.now


def test_every_step_may_be_started_again_in_a_later_attempt() -> None:
    done = (*RUNNING, ADDED, BEGUN, StepCompleted(step="research"), StepStarted(step="write"))
    again = given(*done, *WAITING[3:], STARTING, STARTED)
    again = again.when(StartStep(step="research")).then(StepStarted(step="research"))
    again = again.when(StartStep(step="write")).then(StepStarted(step="write"))
    again.when(StartStep(step="write")).then_nothing()


def test_failed_step_does_not_fail_the_execution() -> None:
    after = (
        working(ADDED, BEGUN).when(EQUAL["failStep"]).then(StepFailed(step="research", error=ERROR))
    )
    assert after.state.status == "running"


def test_error_may_name_an_unknown_step() -> None:
    error = BROKEN.model_copy(update={"step": "nowhere"})
    after = working().happened(ExecutionFailed(error=error, final=True, will_retry=False))
    assert after.state.error.step == "nowhere"


def test_status_of_the_execution_is_checked_before_the_step() -> None:
    given(CREATED, ADDED).when(StartStep(step="write")).refused(IllegalTransition, status="queued")
