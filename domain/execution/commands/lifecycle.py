"""The commands that move an execution through its statuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from domain.errors import Erased, Invalid
from domain.execution.commands.progress import record_usage, save_checkpoint
from domain.execution.events.claims import ExecutionReleased
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionStarting,
    RetryScheduled,
)
from domain.execution.order_in_time import require_after_status, require_after_steps
from domain.execution.parts import NO_TIME
from domain.execution.state import Execution
from domain.execution.transitions import TRANSITIONS
from domain.execution.types import ExecutionError, ExecutionResult, Status, Usage, copy_set_fields
from domain.json_equality import same_json
from domain.json_forms import in_milliseconds
from domain.model import Command, Context, Event
from domain.types import Id, Json, JsonObject, Text


class StartExecution(Command[Execution]):
    """Start the work; from `retry`, without waiting any longer.

    With `async` it stays `starting`: who does the work sends `start` once more.
    """

    wire_name: ClassVar[str] = "start"

    asynchronous: bool = Field(default=False, alias="async")

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        if execution.check_transition(self.wire_name):
            return
        require_after_status(execution, context)
        if execution.status is not Status.STARTING:
            yield ExecutionStarting()
        if not self.asynchronous:
            yield ExecutionStarted()


class PauseExecution(Command[Execution]):
    """Stop for a while, at a checkpoint: of `state`, or of the last state that was given."""

    wire_name: ClassVar[str] = "pause"

    state: JsonObject | None = None
    reason: Text | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        if execution.check_transition(self.wire_name, equal=self._equals(execution)):
            return
        require_after_status(execution, context)
        checkpoint = save_checkpoint(execution, self.state)
        yield checkpoint
        yield copy_set_fields(self, ExecutionPaused, checkpoint=checkpoint.checkpoint)

    def _equals(self, execution: Execution) -> bool:
        pause, kept = execution.pause, execution.checkpoints
        if pause is None or self.reason != pause.reason:
            return False
        return self.state is None or bool(kept and same_json(self.state, kept[-1].state))


class ResumeExecution(Command[Execution]):
    """Go on after a pause, from the latest checkpoint or from another; also with one that is queued
    again, as its worker was lost.

    Raises:
        Invalid: there is no such checkpoint.
    """

    wire_name: ClassVar[str] = "resume"

    checkpoint_id: Id | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        equal = self.checkpoint_id in (None, execution.resumed_from)
        if execution.check_transition(self.wire_name, equal=equal):
            return
        require_after_status(execution, context)
        known = [checkpoint.id for checkpoint in execution.checkpoints]
        chosen = self.checkpoint_id or known[-1]
        if chosen not in known:
            raise Invalid.field(
                "checkpointId",
                f"must be the id of a checkpoint of this execution, but is `{chosen}`",
            )
        if execution.status is Status.QUEUED:
            yield ExecutionStarting()
        yield ExecutionResumed(checkpoint=chosen)


class CompleteExecution(ExecutionResult, Command[Execution]):
    """End the run normally, with what came out."""

    wire_name: ClassVar[str] = "complete"

    output: Json = None
    usage: Usage | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        result = copy_set_fields(self, ExecutionResult, output=self.output)
        if execution.check_transition(self.wire_name, equal=result.same(execution.result)):
            return
        require_after_steps(execution, context)
        if self.usage:
            yield from record_usage(execution, self.usage)
        yield ExecutionCompleted(success=self.success, result=result)


class FailExecution(ExecutionError, Command[Execution]):
    """End an attempt with an error; a recoverable one is retried as the policy says."""

    wire_name: ClassVar[str] = "fail"

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        error = copy_set_fields(self, ExecutionError)
        if execution.check_transition(self.wire_name, equal=error.same(execution.error)):
            return
        require_after_steps(execution, context)
        yield from end_by_error(execution, self.wire_name, error, context)


class RetryExecution(Command[Execution]):
    """Try a failed execution again, whether or not the policy would; in `retry`, at once.

    Raises:
        Erased: what it worked with is gone.
    """

    wire_name: ClassVar[str] = "retry"

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        if execution.erasure is not None:
            raise Erased
        require_after_status(execution, context)
        if execution.status is Status.FAILED:
            yield _schedule(execution, context)
        else:
            yield ExecutionStarting()
            yield ExecutionStarted()


class StartRetry(Command[Execution]):
    """Begin the retry whose delay is over; one that was claimed is queued, for any worker. Comes from the
    server alone.
    """

    wire_name: ClassVar[str] = "startRetry"

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        if execution.next_retry_at is None or execution.next_retry_at > context.now:
            return
        if (worker := execution.attempts[-1].worker) is not None:
            yield ExecutionReleased(worker=worker, reason="retry")
            return
        yield ExecutionStarting()
        yield ExecutionStarted()


class CancelExecution(Command[Execution]):
    """End it before it is done."""

    wire_name: ClassVar[str] = "cancel"

    reason: Text | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        before = execution.cancellation
        equal = before is not None and before.reason == self.reason
        if not execution.check_transition(self.wire_name, equal=equal):
            require_after_steps(execution, context)
            yield copy_set_fields(self, ExecutionCancelled)


class TimeOutExecution(Command[Execution]):
    """End an attempt that has worked for longer than it may. Comes from the server alone."""

    wire_name: ClassVar[str] = "timeOut"

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        due = execution.times_out_at
        if due is None or execution.timeout is None or due > context.now:
            return
        allowed = in_milliseconds(execution.timeout)
        error = ExecutionError(
            code="EXECUTION_TIMEOUT",
            message=f"The attempt worked for longer than {allowed} ms.",
            recoverable=True,
        )
        yield from end_by_error(execution, self.wire_name, error, context)


def end_by_error(
    execution: Execution, command: str, error: ExecutionError, context: Context
) -> Iterator[Event]:
    """The end of an attempt, and its retry: where the error is recoverable, the policy has retries left, and the command
    may lead to one. Else the execution has failed, and only the command `retry` leads on.
    """
    policy = execution.retry_policy
    left = policy is not None and execution.retries < policy.max_retries
    retry = left and error.recoverable and "retry" in TRANSITIONS[command][execution.status]
    yield ExecutionFailed(error=error, final=not retry, will_retry=retry)
    if retry:
        yield _schedule(execution, context)


def _schedule(execution: Execution, context: Context) -> RetryScheduled:
    retry, policy = execution.retries + 1, execution.retry_policy
    delay = policy.delay(retry, context.random) if policy else NO_TIME
    return RetryScheduled(
        retry=retry,
        max_retries=policy.max_retries if policy else None,
        delay=delay,
        next_retry_at=context.when + delay,
    )
