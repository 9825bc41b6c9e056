"""Retries of failed attempts, timeouts of attempts, and the delays between retries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.errors import IllegalTransition
from domain.execution.commands import (
    FailExecution,
    RetryExecution,
    StartExecution,
    StartRetry,
    StartStep,
    TimeOutExecution,
    UpdateExecution,
)
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import (
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    RetryScheduled,
)
from domain.execution.events.steps import StepCompleted, StepsAdded, StepSkipped, StepStarted
from domain.execution.retry_policy import RetryPolicy
from domain.execution.types import ExecutionError, Status, StepPlan
from domain.model import Event
from tests.support.given import SECOND, Given, given
from tests.support.histories import (
    BROKEN,
    CHECKPOINT,
    CREATED,
    RESULT,
    STARTED,
    STARTING,
    THREE_RETRIES,
)

FAIL = FailExecution(code="SMTP", message="No answer", recoverable=True)
NOT_FINAL = ExecutionFailed(error=BROKEN, final=False, will_retry=True)
FINAL = ExecutionFailed(error=BROKEN, final=True, will_retry=False)


def created(**more: Any) -> ExecutionCreated:
    return ExecutionCreated(
        order="o-1",
        service="s-1",
        customer="c-1",
        provider="p-1",
        retry_policy=THREE_RETRIES,
        **more,
    )


def working(**more: Any) -> Given:
    return given(created(**more), STARTING, STARTED)


def scheduled(retry: int, delay: timedelta, at: Given) -> RetryScheduled:
    return RetryScheduled(retry=retry, max_retries=3, delay=delay, next_retry_at=at.now + delay)


def test_recoverable_failure_with_retries_left_is_retried() -> None:
    now = working()
    after = now.when(FAIL).then(NOT_FINAL, scheduled(1, SECOND, now))
    assert after.state.status is Status.RETRY
    assert after.state.next_retry_at == now.now + SECOND
    assert not after.state.final


def test_unrecoverable_failure_is_final() -> None:
    error = ExecutionError(code="DENIED", message="No")
    working().when(FailExecution(code="DENIED", message="No")).then(
        ExecutionFailed(error=error, final=True, will_retry=False)
    )


def test_three_retries_are_four_attempts() -> None:
    now = working()
    for retry in (1, 2, 3):
        delay = SECOND * 2 ** (retry - 1)
        now = now.when(FAIL).then(NOT_FINAL, scheduled(retry, delay, now))
        now = now.when(StartExecution()).then(STARTING, STARTED)
    after = now.when(FAIL).then(FINAL)
    assert [attempt.outcome for attempt in after.state.attempts] == ["failed"] * 4
    assert [attempt.delay for attempt in after.state.attempts] == [
        SECOND,
        2 * SECOND,
        4 * SECOND,
        None,
    ]
    assert after.state.error.retry_count == 3


def test_retry_count_of_the_client_is_stored_but_not_used() -> None:
    command = FailExecution(code="SMTP", message="No answer", recoverable=True, retry_count=9)
    now = working()
    failed = NOT_FINAL.model_copy(update={"error": BROKEN.model_copy(update={"retry_count": 9})})
    after = now.when(command).then(failed, scheduled(1, SECOND, now))
    assert after.state.error.retry_count == 0


def test_failure_during_the_retry_delay_is_final() -> None:
    now = working()
    waiting = now.when(FAIL).then(NOT_FINAL, scheduled(1, SECOND, now))
    assert waiting.when(FAIL).then(FINAL).state.status is Status.FAILED


def test_failed_execution_can_be_retried_without_any_policy() -> None:
    failed = given(CREATED, STARTING, STARTED, FINAL)
    after = failed.when(RetryExecution()).then(
        RetryScheduled(retry=1, max_retries=None, delay=timedelta(), next_retry_at=failed.now)
    )
    assert after.state.completed_at is None
    assert after.when(RetryExecution()).then(STARTING, STARTED).state.status is Status.RUNNING


def test_error_is_cleared_by_a_later_success_but_stays_in_its_attempt() -> None:
    now = working().happened(NOT_FINAL, scheduled(1, SECOND, working()), STARTING, STARTED)
    assert now.state.error is not None
    after = now.happened(ExecutionCompleted(success=True, result=RESULT))
    assert after.state.error is None
    assert [attempt.error and attempt.error.code for attempt in after.state.attempts] == [
        "SMTP",
        None,
    ]


def test_started_at_is_that_of_the_first_attempt() -> None:
    now = working()
    after = now.happened(NOT_FINAL, scheduled(1, SECOND, now)).after(5 * SECOND, STARTING, STARTED)
    assert after.state.started_at == now.now


def test_working_time_excludes_the_retry_delay() -> None:
    now = working().after(10 * SECOND, NOT_FINAL)
    waiting = now.happened(scheduled(1, SECOND, now)).after(60 * SECOND, STARTING, STARTED)
    assert waiting.state.worked_until(waiting.now) == 13 * SECOND


def failing_step(step: str | None) -> ExecutionError:
    return ExecutionError(code="SMTP", message="No answer", recoverable=True, step=step)


STEPS = tuple(StepPlan(id=name, name=name) for name in ("done", "named", "open", "later", "left"))
AT_WORK: tuple[Event, ...] = (
    StepsAdded(steps=STEPS),
    StepStarted(step="done"),
    StepCompleted(step="done"),
    StepStarted(step="named", input=1),
    StepStarted(step="open", input=2),
    StepSkipped(step="left", reason="no time"),
)


def statuses(history: Given) -> dict[str, str]:
    return {step.id: step.status.value for step in history.state.steps.values()}


def test_steps_of_a_retried_attempt_are_pending_again_except_the_failed_step() -> None:
    now = working().happened(*AT_WORK)
    error = failing_step("named")
    after = now.happened(ExecutionFailed(error=error, final=False, will_retry=True))
    expected = {
        "done": "completed",
        "named": "failed",
        "open": "pending",
        "later": "pending",
        "left": "skipped",
    }
    assert statuses(after) == expected
    assert statuses(after.happened(scheduled(1, SECOND, after))) == expected
    named, reopened = after.state.steps["named"], after.state.steps["open"]
    assert (named.completed_at, named.error.code, named.error.step) == (after.now, "SMTP", "named")
    assert (reopened.started_at, reopened.completed_at, reopened.input) == (None, None, 2)
    assert after.state.progress == 40


def test_step_named_by_the_error_fails_with_the_last_attempt_and_others_are_skipped() -> None:
    now = working().happened(*AT_WORK)
    after = now.happened(ExecutionFailed(error=failing_step("named"), final=True, will_retry=False))
    assert statuses(after) == {
        "done": "completed",
        "named": "failed",
        "open": "skipped",
        "later": "skipped",
        "left": "skipped",
    }
    again = after.happened(scheduled(1, SECOND, after))
    assert statuses(again)["named"] == "failed"
    assert statuses(again)["open"] == "pending"


@pytest.mark.parametrize("step", [None, "", "nowhere", "done", "left"])
def test_error_without_an_open_step_fails_no_step(step: str | None) -> None:
    now = working().happened(*AT_WORK)
    after = now.happened(ExecutionFailed(error=failing_step(step), final=False, will_retry=True))
    assert statuses(after)["done"] == "completed"
    assert statuses(after)["left"] == "skipped"
    assert "failed" not in statuses(after).values()


def test_step_pending_for_a_retry_is_started_again() -> None:
    now = working().happened(*AT_WORK)
    failed = now.happened(
        ExecutionFailed(error=failing_step("named"), final=False, will_retry=True)
    )
    again = failed.happened(scheduled(1, SECOND, failed), STARTING, STARTED)
    for step in ("named", "open"):
        again.when(StartStep(step=step)).then(StepStarted(step=step))


def test_retry_begins_after_its_delay_and_not_before() -> None:
    now = working()
    failed = now.happened(
        ExecutionFailed(error=failing_step("named"), final=False, will_retry=True)
    )
    waiting = failed.happened(scheduled(1, 60 * SECOND, failed))
    waiting.after(58 * SECOND).when(StartRetry()).then_nothing()
    due = waiting.after(60 * SECOND)
    due.when(StartRetry()).then(STARTING, STARTED)
    due.happened(STARTING, STARTED).when(StartRetry()).refused(IllegalTransition, status="running")


def test_attempt_that_exceeds_its_timeout_fails() -> None:
    now = working(timeout=60 * SECOND).after(59 * SECOND)
    outcome = now.when(TimeOutExecution())
    failed, retry = outcome.events
    assert isinstance(failed, ExecutionFailed)
    assert (failed.error.code, failed.will_retry) == ("EXECUTION_TIMEOUT", True)
    assert retry == scheduled(1, SECOND, now)


def test_early_timeout_does_nothing() -> None:
    working(timeout=60 * SECOND).after(58 * SECOND).when(TimeOutExecution()).then_nothing()


def test_execution_without_a_timeout_never_times_out() -> None:
    working(timeout=None).after(timedelta(days=30)).when(TimeOutExecution()).then_nothing()


def test_pause_stops_the_timeout() -> None:
    paused = working(timeout=60 * SECOND).after(
        20 * SECOND, CHECKPOINT, ExecutionPaused(checkpoint="cp-1")
    )
    assert paused.state.times_out_at is None
    resumed = paused.after(timedelta(hours=3), ExecutionResumed(checkpoint="cp-1"))
    assert resumed.state.times_out_at == resumed.now + 37 * SECOND


def test_timeout_applies_to_each_attempt() -> None:
    now = working(timeout=60 * SECOND).after(50 * SECOND, NOT_FINAL)
    again = now.happened(scheduled(1, SECOND, now), STARTING, STARTED)
    assert again.state.times_out_at == again.now + 59 * SECOND


def test_retry_policy_may_be_set_later() -> None:
    now = given(CREATED, STARTING, STARTED)
    outcome = now.when(UpdateExecution(retry_policy=THREE_RETRIES))
    after = outcome.then(*outcome.events)
    after.when(FAIL).then(NOT_FINAL, scheduled(1, SECOND, after))


def policy(backoff: str, jitter: str = "none") -> RetryPolicy:
    return RetryPolicy.model_validate(
        {
            "maxRetries": 9,
            "backoff": backoff,
            "initialDelay": 1000,
            "maxDelay": 5000,
            "jitter": jitter,
        }
    )


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("exponential", [1000, 2000, 4000, 5000, 5000]), ("linear", [1000, 2000, 3000, 4000, 5000])],
)
def test_retry_delays_grow_up_to_the_maximum(backoff: str, delays: list[int]) -> None:
    drawn = [policy(backoff).delay(retry, lambda: 0.3) for retry in range(1, 6)]
    assert drawn == [timedelta(milliseconds=delay) for delay in delays]


@pytest.mark.parametrize(
    ("jitter", "chance", "delay"),
    [("full", 0.0, 0), ("full", 0.5, 2000), ("equal", 0.0, 2000), ("equal", 0.999, 3998)],
)
def test_jitter_is_drawn_from_the_delay(jitter: str, chance: float, delay: int) -> None:
    assert policy("exponential", jitter).delay(3, lambda: chance) == timedelta(milliseconds=delay)


def test_thousandth_retry_has_a_finite_delay() -> None:
    assert policy("exponential").delay(1000, lambda: 0.5) == timedelta(seconds=5)
