"""The events of attempts: an attempt begins, pauses, resumes or ends, and the execution with it."""

from __future__ import annotations

from typing import ClassVar

from domain.execution import endings
from domain.execution.events.event import ExecutionEvent
from domain.execution.parts import Attempt, Cancellation, Erasure, Pause
from domain.execution.retry_policy import Delay
from domain.execution.state import Execution
from domain.execution.types import ExecutionError, ExecutionResult, Status
from domain.json_forms import Time
from domain.model import Recorded
from domain.sealing import Sealed


class ExecutionStarting(ExecutionEvent):
    """An attempt began."""

    type: ClassVar[str] = "execution.starting"

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        worker = state.claim.worker if state.claim else None
        attempt = Attempt(len(state.attempts) + 1, recorded.when, state.active, worker=worker)
        return state.enter(
            Status.STARTING,
            recorded,
            attempts=(*state.attempts, attempt),
            active_since=recorded.when,
            next_retry_at=None,
        )


class ExecutionStarted(ExecutionEvent):
    """The work began."""

    type: ClassVar[str] = "execution.started"

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        if state.started_at:
            return state.enter(Status.RUNNING, recorded)
        at = recorded.when
        return state.enter(
            Status.RUNNING, recorded, started_at=at, active_before_start=state.worked_until(at)
        )


class ExecutionPaused(ExecutionEvent):
    """The work was paused, at a checkpoint."""

    type: ClassVar[str] = "execution.paused"
    checkpoint: str
    reason: Sealed[str] | None = None

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        pause = Pause(recorded.by, recorded.when, self.reason)
        return endings.stop_clock(state, Status.PAUSED, recorded, pause=pause)


class ExecutionResumed(ExecutionEvent):
    """The work was resumed from a checkpoint. Steps and progress stay as they are: the worker takes up the
    checkpoint's `state` by itself.
    """

    type: ClassVar[str] = "execution.resumed"
    checkpoint: str

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        return state.enter(
            Status.RUNNING,
            recorded,
            pause=None,
            active_since=recorded.when,
            resumed_from=self.checkpoint,
        )


class ExecutionCompleted(ExecutionEvent):
    """The run ended normally. `success`: whether it reached its purpose."""

    type: ClassVar[str] = "execution.completed"
    success: bool
    result: Sealed[ExecutionResult]

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        done = endings.attempt_ended(state, recorded.when, "completed", None)
        return endings.finish(
            done,
            Status.COMPLETED,
            recorded,
            explicit_progress=100,
            success=self.success,
            result=self.result,
            error=None,
        )


class ExecutionFailed(ExecutionEvent):
    """An attempt failed. Where `final` is false, a retry is scheduled in the same commit.

    The open step that the error names fails with it. The others are skipped where this is the end,
    and pending again where it is not.
    """

    type: ClassVar[str] = "execution.failed"
    error: ExecutionError
    final: bool
    will_retry: bool

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        error = self.error.model_copy(update={"retry_count": state.retries})
        failed = endings.attempt_ended(state, recorded.when, "failed", error)
        steps = endings.with_failed(failed.steps, error, recorded.when)
        if self.final:
            return endings.finish(failed, Status.FAILED, recorded, error=error, steps=steps)
        return endings.stop_clock(
            failed, Status.FAILED, recorded, error=error, steps=endings.waiting_again(steps)
        )


class RetryScheduled(ExecutionEvent):
    """The n-th retry begins at `nextRetryAt`, after the delay that was drawn."""

    type: ClassVar[str] = "execution.retry"
    snapshot: ClassVar[bool] = True
    retry: int
    max_retries: int | None = None
    delay: Delay
    next_retry_at: Time

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        *before, last = state.attempts
        return state.enter(
            Status.RETRY,
            recorded,
            retries=self.retry,
            next_retry_at=self.next_retry_at,
            completed_at=None,
            steps=endings.reopen(state.steps),
            attempts=(*before, last.evolve(delay=self.delay)),
        )


class ExecutionCancelled(ExecutionEvent):
    """The execution was cancelled before its end."""

    type: ClassVar[str] = "execution.cancelled"
    reason: Sealed[str] | None = None

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        cancellation = Cancellation(recorded.by, recorded.when, self.reason)
        ended = endings.attempt_ended(state, recorded.when, "cancelled", None)
        return endings.finish(ended, Status.CANCELLED, recorded, cancellation=cancellation)


class ExecutionErased(ExecutionEvent):
    """The content of the execution was erased: its data key was destroyed in the commit of this event. The reason is not sealed."""

    type: ClassVar[str] = "execution.erased"
    erases: ClassVar[bool] = True
    reason: str

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        erasure = Erasure(recorded.by, recorded.when, self.reason)
        return state.change_silently(recorded, erasure=erasure)
