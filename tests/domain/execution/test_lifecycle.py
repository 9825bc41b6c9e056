"""Commands on an execution and the events that follow."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from domain.errors import IllegalTransition
from domain.execution.commands import (
    AutoCheckpoint,
    CancelExecution,
    CompleteExecution,
    FailExecution,
    PauseExecution,
    RecordUsage,
    ResumeExecution,
    SaveCheckpoint,
    StartExecution,
    UpdateProgress,
)
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    RetryScheduled,
)
from domain.execution.events.progress import CheckpointSaved, ProgressUpdated
from domain.execution.events.steps import (
    StepCompleted,
    StepsAdded,
    StepSkipped,
    StepStarted,
    UsageRecorded,
)
from domain.execution.parts import Cancellation
from domain.execution.types import ExecutionResult, Status, StepPlan, StepStatus, Usage
from tests.support.given import NOON, SECOND, given
from tests.support.histories import (
    BROKEN,
    CHECKPOINT,
    CREATED,
    FAILED_FINALLY,
    HISTORIES,
    HOPELESS,
    PAUSED,
    RESULT,
    RUNNING,
    STARTED,
    STARTING,
)

MINUTE = timedelta(minutes=1)
TENTH = Decimal("0.1")


def test_starting_a_queued_execution_goes_through_starting() -> None:
    after = given(CREATED).when(StartExecution()).then(STARTING, STARTED)
    assert after.state.status is Status.RUNNING
    assert after.state.started_at == after.now


def test_start_of_a_starting_execution_records_only_started() -> None:
    given(CREATED, STARTING).when(StartExecution()).then(STARTED)


def test_refusal_names_the_status_and_the_allowed_commands() -> None:
    given(*HISTORIES[Status.COMPLETED]).when(StartExecution()).refused(
        IllegalTransition, status="completed", allowedCommands=["log", "recordUsage", "update"]
    )


def test_pausing_saves_a_checkpoint() -> None:
    after = (
        given(*RUNNING)
        .when(PauseExecution(state={"page": 3}, reason="lunch"))
        .then(CHECKPOINT, PAUSED)
    )
    assert after.state.status is Status.PAUSED
    assert [checkpoint.state for checkpoint in after.state.checkpoints] == [{"page": 3}]


def test_pause_without_a_state_keeps_the_last_state() -> None:
    working = given(*RUNNING, CHECKPOINT, StepStarted(step="a"), ProgressUpdated(progress=40))
    working.when(PauseExecution()).then(
        CheckpointSaved(checkpoint="cp-2", state={"page": 3}, step="a", progress=40),
        ExecutionPaused(checkpoint="cp-2"),
    )


def test_repeated_pause_with_another_state_is_refused() -> None:
    paused = given(*HISTORIES[Status.PAUSED])
    paused.when(PauseExecution(reason="lunch", state={"page": 3})).then_nothing()
    paused.when(PauseExecution(reason="lunch", state={"page": 4})).refused(IllegalTransition)


def test_resuming_continues_from_the_latest_checkpoint() -> None:
    second = CheckpointSaved(checkpoint="cp-2", state={}, step="")
    paused = given(*HISTORIES[Status.PAUSED], second)
    paused.when(ResumeExecution()).then(ExecutionResumed(checkpoint="cp-2"))


def test_resuming_continues_from_the_named_checkpoint() -> None:
    second = CheckpointSaved(checkpoint="cp-2", state={}, step="")
    paused = given(*HISTORIES[Status.PAUSED], second)
    after = paused.when(ResumeExecution(checkpoint_id="cp-1")).then(
        ExecutionResumed(checkpoint="cp-1")
    )
    after.when(ResumeExecution(checkpoint_id="cp-1")).then_nothing()
    after.when(ResumeExecution(checkpoint_id="cp-2")).refused(IllegalTransition)


def test_resuming_from_a_missing_checkpoint_is_refused() -> None:
    paused = given(*HISTORIES[Status.PAUSED])
    paused.when(ResumeExecution(checkpoint_id="cp-7")).refused_field("checkpointId")


def test_complete_records_result_and_success_separately() -> None:
    result = ExecutionResult(success=False, output=None, summary="Nobody answered")
    after = (
        given(*RUNNING, ProgressUpdated(progress=20))
        .when(CompleteExecution(success=False, summary="Nobody answered"))
        .then(ExecutionCompleted(success=False, result=result))
    )
    assert after.state.status is Status.COMPLETED
    assert after.state.success is False
    assert after.state.progress == 100
    assert after.state.completed_at == after.now


def test_complete_may_record_usage() -> None:
    command = CompleteExecution(
        success=True, output={"sent": 2}, summary="Sent two", usage=Usage(tokens_used=5)
    )
    after = (
        given(*RUNNING)
        .when(command)
        .then(UsageRecorded(tokens_used=5), ExecutionCompleted(success=True, result=RESULT))
    )
    after.when(command).then_nothing()


def test_end_skips_open_steps() -> None:
    plans = (StepPlan(id="a", name="A"), StepPlan(id="b", name="B"))
    working = given(*RUNNING, StepsAdded(steps=plans), StepStarted(step="a"))
    after = working.when(CancelExecution()).then(ExecutionCancelled(reason=None))
    steps = after.state.steps
    assert [step.status for step in steps.values()] == [StepStatus.SKIPPED, StepStatus.SKIPPED]
    assert steps["a"].completed_at == after.now
    assert steps["b"].completed_at is None


def test_failing_without_a_policy_is_final() -> None:
    after = (
        given(*RUNNING)
        .when(FailExecution(code="SMTP", message="No answer", recoverable=True))
        .then(ExecutionFailed(error=BROKEN, final=True, will_retry=False))
    )
    assert after.state.final
    assert after.state.completed_at == after.now


def test_paused_execution_can_fail() -> None:
    given(*HISTORIES[Status.PAUSED]).when(FailExecution(code="DENIED", message="Not allowed")).then(
        ExecutionFailed(error=HOPELESS, final=True, will_retry=False)
    )


def test_cancel_records_actor_time_and_reason() -> None:
    outcome = given(*RUNNING).when(CancelExecution(reason="too slow"))
    outcome.then(ExecutionCancelled(reason="too slow"))
    after = given(*RUNNING).happened(ExecutionCancelled(reason="too slow"), by="customer:c-1")
    assert after.state.cancellation == Cancellation("customer:c-1", after.now, "too slow")


def test_progress_may_increase_and_decrease() -> None:
    after = given(*RUNNING).when(UpdateProgress(progress=45.5)).then(ProgressUpdated(progress=45.5))
    after.when(UpdateProgress(progress=45.5)).then_nothing()
    assert (
        after.when(UpdateProgress(progress=3)).then(ProgressUpdated(progress=3)).state.progress == 3
    )


def test_progress_without_an_explicit_value_is_computed_from_the_steps() -> None:
    plans = tuple(StepPlan(id=name, name=name) for name in "abc")
    working = given(*RUNNING, StepsAdded(steps=plans))
    assert working.state.progress == 0
    done = working.happened(StepStarted(step="a"), StepCompleted(step="a"), StepSkipped(step="b"))
    assert done.state.progress == 66.67


def test_skipped_steps_of_an_attempt_count_no_progress_and_reopen_at_a_retry() -> None:
    plans = tuple(StepPlan(id=name, name=name) for name in "abc")
    working = given(*RUNNING, StepsAdded(steps=plans), StepStarted(step="a"))
    done = working.happened(StepCompleted(step="a"), StepStarted(step="b"))
    failed = done.happened(FAILED_FINALLY)
    assert [step.status for step in failed.state.steps.values()] == ["completed", *["skipped"] * 2]
    assert (failed.state.progress, failed.state.steps_completed) == (33.33, 1)
    assert done.happened(ExecutionCancelled()).state.progress == 33.33
    again = failed.happened(RetryScheduled(retry=1, delay=SECOND, next_retry_at=NOON))
    assert [step.status for step in again.state.steps.values()] == ["completed", *["pending"] * 2]
    assert again.state.steps["b"].started_at is None
    assert again.state.progress == 33.33


def test_step_skipped_by_a_command_counts_as_completed_after_the_end() -> None:
    plans = tuple(StepPlan(id=name, name=name) for name in "ab")
    working = given(*RUNNING, StepsAdded(steps=plans), StepSkipped(step="a", reason="no time"))
    cancelled = working.happened(ExecutionCancelled())
    assert (cancelled.state.steps_completed, cancelled.state.progress) == (1, 50)


def test_usage_is_added_exactly() -> None:
    working = given(*RUNNING)
    for _ in range(3):
        working = working.when(RecordUsage(cost=TENTH, tokens_used=7)).then(
            UsageRecorded(cost=TENTH, tokens_used=7)
        )
    assert working.state.used.cost == Decimal("0.3")
    assert working.state.used.tokens_used == 21


def test_empty_usage_records_nothing() -> None:
    given(*RUNNING).when(RecordUsage(model="m")).then_nothing()


def test_usage_beyond_the_largest_count_is_refused() -> None:
    most = 2**53 - 1
    full = given(*RUNNING, UsageRecorded(tokens_used=most))
    full.when(RecordUsage(tokens_used=1)).refused_field("tokensUsed")


def test_usage_may_name_an_existing_or_a_missing_step() -> None:
    after = given(
        *RUNNING,
        StepStarted(step="a"),
        UsageRecorded(api_calls=1, step="a"),
        UsageRecorded(api_calls=1, step="elsewhere"),
    )
    assert after.state.used.api_calls == 2
    assert after.state.steps["a"].used.api_calls == 1


def test_checkpoints_are_numbered() -> None:
    given(*RUNNING, CHECKPOINT).when(SaveCheckpoint(state={"page": 9}, step="send")).then(
        CheckpointSaved(checkpoint="cp-2", state={"page": 9}, step="send", progress=0)
    )


AUTOMATIC = CheckpointSaved(
    checkpoint="cp-2", state={"page": 3}, step="", progress=5, automatic=True
)


def test_automatic_checkpoint_repeats_the_last_state_after_15_minutes_of_running() -> None:
    begun = given(*RUNNING, CHECKPOINT, ProgressUpdated(progress=5))
    begun.after(14 * MINUTE).when(AutoCheckpoint()).then_nothing()
    begun.after(15 * MINUTE).when(AutoCheckpoint()).then(AUTOMATIC)


def test_automatic_checkpoint_counts_only_running_time_since_the_last_one() -> None:
    paused = given(*RUNNING).after(10 * MINUTE, CHECKPOINT, PAUSED)
    resumed = paused.after(60 * MINUTE, ExecutionResumed(checkpoint="cp-1"))
    received = resumed.after(MINUTE, ProgressUpdated(progress=5))
    received.after(13 * MINUTE).when(AutoCheckpoint()).then_nothing()
    [saved] = received.after(14 * MINUTE).when(AutoCheckpoint()).events
    assert isinstance(saved, CheckpointSaved)


def test_automatic_checkpoint_is_not_made_of_a_saved_state_or_of_the_distant_past() -> None:
    given(*RUNNING, CHECKPOINT).after(16 * MINUTE).when(AutoCheckpoint()).then_nothing()
    begun = given(*RUNNING, CHECKPOINT, ProgressUpdated(progress=5))
    begun.after(timedelta(days=2)).when(AutoCheckpoint()).then_nothing()


def test_working_time_excludes_pauses() -> None:
    paused = given(*RUNNING).after(10 * MINUTE, CHECKPOINT, PAUSED)
    resumed = paused.after(30 * MINUTE, ExecutionResumed(checkpoint="cp-1"))
    later = resumed.after(5 * MINUTE)
    assert paused.state.worked_until(later.now) == 10 * MINUTE + 3 * SECOND
    assert later.state.worked_until(later.now) == 15 * MINUTE + 3 * SECOND
