"""The commands that change the status of an execution."""

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
    """Start the work. In the status `retry` this does not wait for the delay.

    With `async` the status becomes `starting`; the worker sends `start` once more when the work begins.
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
    """Pause the work at a new checkpoint, with `state`, or with the state of the last checkpoint."""

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
        pause, checkpoints = execution.pause, execution.checkpoints
        if pause is None or self.reason != pause.reason:
            return False
        if self.state is None:
            return True
        return bool(checkpoints) and same_json(self.state, checkpoints[-1].state)


class ResumeExecution(Command[Execution]):
    """Resume the work from the latest checkpoint, or from another one: after a pause, or when it is queued again after a lost
    lease.

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
        ids = [checkpoint.id for checkpoint in execution.checkpoints]
        chosen = self.checkpoint_id or ids[-1]
        if chosen not in ids:
            raise Invalid.field(
                "checkpointId",
                f"must be the id of a checkpoint of this execution, but is `{chosen}`",
            )
        if execution.status is Status.QUEUED:
            yield ExecutionStarting()
        yield ExecutionResumed(checkpoint=chosen)


class CompleteExecution(ExecutionResult, Command[Execution]):
    """Complete the execution, with its result."""

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
    """End an attempt with an error. A recoverable error leads to a retry by the retry policy."""

    wire_name: ClassVar[str] = "fail"

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        error = copy_set_fields(self, ExecutionError)
        if execution.check_transition(self.wire_name, equal=error.same(execution.error)):
            return
        require_after_steps(execution, context)
        yield from end_by_error(execution, self.wire_name, error, context)


class RetryExecution(Command[Execution]):
    """Retry a failed execution, even where its retry policy has no retries left. In the status `retry`, start it at once.

    Raises:
        Erased: the content of the execution was erased.
    """

    wire_name: ClassVar[str] = "retry"

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        if execution.erasure is not None:
            raise Erased
        require_after_status(execution, context)
        if execution.status is Status.FAILED:
            yield _schedule_retry(execution, context)
        else:
            yield ExecutionStarting()
            yield ExecutionStarted()


class StartRetry(Command[Execution]):
    """Start the retry whose delay is over. An execution that was claimed is queued instead, for any worker. Only the server sends
    this.
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
    """Cancel an execution before its end."""

    wire_name: ClassVar[str] = "cancel"

    reason: Text | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        before = execution.cancellation
        equal = before is not None and before.reason == self.reason
        if not execution.check_transition(self.wire_name, equal=equal):
            require_after_steps(execution, context)
            yield copy_set_fields(self, ExecutionCancelled)


class TimeOutExecution(Command[Execution]):
    """End an attempt that has worked for longer than its timeout. Only the server sends this."""

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
    """The events of an attempt that ends with an error: the failure, and a retry, if the error is recoverable, the retry policy
    has retries left, and the command may lead to one. Otherwise the execution has failed, and only `retry` leads out of that.
    """
    policy = execution.retry_policy
    has_retries_left = policy is not None and execution.retries < policy.max_retries
    may_lead_to_retry = "retry" in TRANSITIONS[command][execution.status]
    retry = has_retries_left and error.recoverable and may_lead_to_retry
    yield ExecutionFailed(error=error, final=not retry, will_retry=retry)
    if retry:
        yield _schedule_retry(execution, context)


def _schedule_retry(execution: Execution, context: Context) -> RetryScheduled:
    retry, policy = execution.retries + 1, execution.retry_policy
    delay = policy.delay(retry, context.random) if policy else NO_TIME
    return RetryScheduled(
        retry=retry,
        max_retries=policy.max_retries if policy else None,
        delay=delay,
        next_retry_at=context.when + delay,
    )
