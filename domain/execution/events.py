"""What happens to an execution. Each event says what the state is afterwards."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from domain.execution import endings
from domain.execution.claim_events import CLAIM_EVENTS
from domain.execution.forked import CarriedCheckpoint, CarriedStep
from domain.execution.parts import (
    Attempt,
    Cancellation,
    Erasure,
    Pause,
)
from domain.execution.progress_events import CheckpointSaved, ProgressUpdated
from domain.execution.retry_policy import Delay, RetryPolicy
from domain.execution.state import Execution
from domain.execution.step_events import STEP_EVENTS, ExecutionEvent, steps_of_plans
from domain.execution.types import (
    DEFAULT_TIMEOUT,
    ExecutionError,
    ExecutionResult,
    ForkedFrom,
    OnLeaseLost,
    Silence,
    Status,
    StepPlan,
    Timeout,
)
from domain.execution.webhook import Webhook
from domain.json_forms import Time
from domain.model import Recorded, aggregate_id
from domain.sealing import Sealed
from domain.types import Assignee, Percent, Priority


class ExecutionCreated(ExecutionEvent):
    """An execution of a service was ordered, or forked from another.

    Of a fork, `carried` is what its `steps` had come to there.
    """

    type: ClassVar[str] = "execution.created"
    order: str
    service: str
    workflow: str | None = None
    customer: str
    provider: str
    assignee: Assignee | None = None
    steps: tuple[StepPlan, ...] = ()
    steps_total: int = 0
    priority: Priority = Priority.NORMAL
    timeout: Timeout | None = DEFAULT_TIMEOUT
    retry_policy: RetryPolicy | None = None
    webhooks: tuple[Webhook, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)
    heartbeat_timeout: Silence | None = None
    on_lease_lost: OnLeaseLost = "restart"
    forked_from: ForkedFrom | None = None
    carried: tuple[CarriedStep, ...] = ()
    checkpoints: tuple[CarriedCheckpoint, ...] = ()
    progress: Percent | None = None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return self.customer, self.provider

    def apply(self, state: None, recorded: Recorded) -> Execution:  # type: ignore[override]  # the first
        steps = steps_of_plans(self.steps)
        for carried in self.carried:
            steps[carried.step] = carried.onto(steps[carried.step])
        return Execution.make(
            id=aggregate_id(recorded.stream),
            order=self.order,
            service=self.service,
            workflow=self.workflow,
            customer=self.customer,
            provider=self.provider,
            created_at=recorded.when,
            updated_at=recorded.when,
            since=recorded.when,
            explicit_progress=self.progress,
            assignee=self.assignee,
            forked_from=self.forked_from,
            steps=steps,
            planned_steps=self.steps_total,
            checkpoints=tuple(checkpoint.checkpoint_of() for checkpoint in self.checkpoints),
            priority=self.priority,
            timeout=self.timeout,
            retry_policy=self.retry_policy,
            webhooks=self.webhooks,
            tags=self.tags,
            metadata=self.metadata,
            heartbeat_timeout=self.heartbeat_timeout,
            on_lease_lost=self.on_lease_lost,
        )


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
    """The work stopped for a while, at a checkpoint."""

    type: ClassVar[str] = "execution.paused"
    checkpoint: str
    reason: Sealed[str] | None = None

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        pause = Pause(recorded.by, recorded.when, self.reason)
        return endings.stop_clock(state, Status.PAUSED, recorded, pause=pause)


class ExecutionResumed(ExecutionEvent):
    """The work went on from a checkpoint. Nothing else of the state goes back to what it was then: the worker takes up the
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
    """The run ended normally; `success` says whether it brought what was wanted."""

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
    """An attempt went wrong. Where `final` is false, a retry follows in the same commit.

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
    """Someone ended it before it was done."""

    type: ClassVar[str] = "execution.cancelled"
    reason: Sealed[str] | None = None

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        cancellation = Cancellation(recorded.by, recorded.when, self.reason)
        ended = endings.attempt_ended(state, recorded.when, "cancelled", None)
        return endings.finish(ended, Status.CANCELLED, recorded, cancellation=cancellation)


class ExecutionErased(ExecutionEvent):
    """Its data key was destroyed in the commit of this event. The reason is not sealed."""

    type: ClassVar[str] = "execution.erased"
    erases: ClassVar[bool] = True
    reason: str

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        erasure = Erasure(recorded.by, recorded.when, self.reason)
        return state.change_silently(recorded, erasure=erasure)


class ExecutionUpdated(ExecutionEvent):
    """Settings were changed: exactly those that are there, to what they are there.

    A `progress` here is always null: what was reported is withdrawn, and the steps count again.
    """

    type: ClassVar[str] = "execution.updated"
    assignee: Assignee | None = None
    priority: Priority = Priority.NORMAL
    timeout: Timeout | None = DEFAULT_TIMEOUT
    retry_policy: RetryPolicy | None = None
    webhooks: tuple[Webhook, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)
    heartbeat_timeout: Silence | None = None
    on_lease_lost: OnLeaseLost = "restart"
    progress: None = None

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        changes = {FIELDS.get(name, name): getattr(self, name) for name in self.model_fields_set}
        if "heartbeat_timeout" in changes:
            changes["stalled"] = False
        return state.change_silently(recorded, **changes)


FIELDS = {"progress": "explicit_progress"}
"""Members of the event whose fields in the state are called otherwise."""


EVENTS: tuple[type[ExecutionEvent], ...] = (
    ExecutionCreated,
    ExecutionStarting,
    ExecutionStarted,
    ProgressUpdated,
    CheckpointSaved,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionCompleted,
    ExecutionFailed,
    RetryScheduled,
    ExecutionCancelled,
    ExecutionErased,
    ExecutionUpdated,
    *CLAIM_EVENTS,
    *STEP_EVENTS,
)
