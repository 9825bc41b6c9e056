"""Times that clients may give for their commands (`occurred_at`)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from domain.execution.commands import (
    CancelExecution,
    CompleteExecution,
    CompleteStep,
    FailExecution,
    FailStep,
    PauseExecution,
    ResumeExecution,
    RetryExecution,
    SkipStep,
    StartExecution,
    StartStep,
    UpdateExecution,
    UpdateProgress,
)
from domain.execution.commands.erase import EraseExecution
from domain.execution.events.lifecycle import ExecutionPaused, ExecutionResumed
from domain.execution.events.steps import StepFailed, StepsAdded, StepStarted
from domain.execution.state import Execution
from domain.execution.types import ExecutionError, Status, StepPlan
from domain.model import Command
from projections.representations.execution import document
from tests.support.given import NOON, SECOND, Given, given
from tests.support.histories import CHECKPOINT, CREATED, HISTORIES, RUNNING, STARTED, STARTING

COMPLETE = CompleteExecution(success=True, output=None, summary="s")
FAIL = FailExecution(code="X", message="x", recoverable=True)
MILLISECOND = timedelta(milliseconds=1)
# For each command and each status that it ends: the time at which that status began.
ENDS: list[tuple[Status, Command[Execution], datetime]] = [
    (Status.QUEUED, StartExecution(), NOON + SECOND),
    (Status.QUEUED, EraseExecution(reason="r"), NOON + SECOND),
    (Status.QUEUED, CancelExecution(), NOON + SECOND),
    (Status.STARTING, StartExecution(), NOON + 2 * SECOND),
    (Status.STARTING, FAIL, NOON + 2 * SECOND),
    (Status.RUNNING, PauseExecution(), NOON + 3 * SECOND),
    (Status.RUNNING, COMPLETE, NOON + 3 * SECOND),
    (Status.RUNNING, FAIL, NOON + 3 * SECOND),
    (Status.RUNNING, CancelExecution(), NOON + 3 * SECOND),
    (Status.RUNNING, EraseExecution(reason="r"), NOON + 3 * SECOND),
    (Status.RUNNING, UpdateExecution(status=Status.CANCELLED), NOON + 3 * SECOND),
    (Status.PAUSED, ResumeExecution(), NOON + 5 * SECOND),
    (Status.PAUSED, FAIL, NOON + 5 * SECOND),
    (Status.PAUSED, CancelExecution(), NOON + 5 * SECOND),
    (Status.FAILED, RetryExecution(), NOON + 4 * SECOND),
    (Status.FAILED, EraseExecution(reason="r"), NOON + 4 * SECOND),
    (Status.FAILED, CancelExecution(), NOON + 4 * SECOND),
    (Status.RETRY, StartExecution(), NOON + 5 * SECOND),
    (Status.RETRY, RetryExecution(), NOON + 5 * SECOND),
    (Status.RETRY, FAIL, NOON + 5 * SECOND),
]
STEP_ENDS: list[Command[Execution]] = [
    CompleteStep(step="a"),
    FailStep(step="a", code="X", message="x"),
    SkipStep(step="a"),
    COMPLETE,
    FAIL,
    CancelExecution(),
    EraseExecution(reason="r"),
]


def with_time(command: Command[Execution], at: datetime) -> Command[Execution]:
    return command.model_copy(update={"occurred_at": at})


@pytest.mark.parametrize(("status", "command", "began"), ENDS)
def test_status_ends_no_earlier_than_it_began(
    status: Status, command: Command[Execution], began: datetime
) -> None:
    history = given(*HISTORIES[status]).after(60 * SECOND)
    history.when(with_time(command, began - MILLISECOND)).refused_field("occurredAt")
    assert history.when(with_time(command, began)).events


@pytest.mark.parametrize("command", STEP_ENDS)
def test_running_step_ends_no_earlier_than_it_began(command: Command[Execution]) -> None:
    history = given(*RUNNING).after(10 * SECOND, StepStarted(step="a")).after(60 * SECOND)
    began = history.state.steps["a"].started_at
    history.when(with_time(command, began - MILLISECOND)).refused_field("occurredAt")
    assert history.when(with_time(command, began)).events


def test_failed_step_is_started_again_no_earlier_than_it_failed() -> None:
    error = ExecutionError(code="X", message="x")
    history = given(*RUNNING, StepStarted(step="a"), StepFailed(step="a", error=error))
    failed, history = history.now, history.after(60 * SECOND)
    for command in (StartStep(step="a"), SkipStep(step="a")):
        history.when(with_time(command, failed - MILLISECOND)).refused_field("occurredAt")
        assert history.when(with_time(command, failed)).events


def test_command_that_ends_no_status_may_have_an_earlier_time() -> None:
    plans = (StepPlan(id="a", name="A"), StepPlan(id="b", name="B"))
    history = given(*RUNNING, StepsAdded(steps=plans)).after(60 * SECOND)
    for command in (UpdateProgress(progress=5), StartStep(step="a"), SkipStep(step="b")):
        assert history.when(with_time(command, NOON)).events


def test_too_early_occurred_at_is_refused_with_the_earliest_time() -> None:
    outcome = given(*HISTORIES[Status.PAUSED]).when(with_time(ResumeExecution(), NOON))
    assert outcome.error is not None
    assert outcome.error.members["errors"] == [
        {
            "path": "occurredAt",
            "message": "must not be before 2026-11-22T12:00:05.000Z, when the execution became"
            " `paused`, but is 2026-11-22T12:00:00.000Z",
        }
    ]


def test_repeated_command_may_have_any_occurred_at() -> None:
    given(*HISTORIES[Status.RUNNING]).when(with_time(StartExecution(), NOON)).then_nothing()


def test_time_that_was_shown_in_milliseconds_is_accepted() -> None:
    """Clients see milliseconds, of times that may be finer."""
    fine = replace(given(CREATED), now=NOON + timedelta(seconds=1, microseconds=999))
    history = fine.happened(STARTING, STARTED)
    read = history.state.since.replace(microsecond=0)
    assert history.state.since > read
    assert history.when(with_time(COMPLETE, read)).events


def metrics(history: Given) -> dict[str, object]:
    shown: dict[str, object] = document(history.versioned, history.now)["metrics"]
    return shown


def test_active_duration_excludes_the_time_before_the_start() -> None:
    history = given(CREATED, STARTING).after(30 * SECOND, STARTED).after(10 * SECOND)
    assert (metrics(history)["duration"], metrics(history)["activeDuration"]) == (10_000, 10_000)


def test_active_duration_never_exceeds_duration_in_logs_with_unordered_times() -> None:
    """A log may have a resume that is dated before its pause."""
    paused = given(*RUNNING).after(10 * SECOND, CHECKPOINT, ExecutionPaused(checkpoint="cp-1"))
    early = replace(paused, now=paused.now - 9 * SECOND)
    resumed = early.happened(ExecutionResumed(checkpoint="cp-1"))
    shown = metrics(resumed.after(9 * SECOND))
    assert shown["activeDuration"] == shown["duration"]


def test_updated_at_follows_the_clock_of_created_at() -> None:
    history = given(*RUNNING)
    assert history.state.updated_at == history.now
    late = replace(history, now=history.now - 2 * SECOND).happened(CHECKPOINT)
    assert late.state.updated_at == history.now
