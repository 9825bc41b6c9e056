"""The events of settings: an execution is created, or its settings are changed."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from domain.execution.events.event import ExecutionEvent
from domain.execution.events.steps import steps_of_plans
from domain.execution.forked import CarriedCheckpoint, CarriedStep
from domain.execution.retry_policy import RetryPolicy
from domain.execution.state import Execution
from domain.execution.types import (
    DEFAULT_TIMEOUT,
    ForkedFrom,
    OnLeaseLost,
    Silence,
    StepPlan,
    Timeout,
)
from domain.execution.webhook import Webhook
from domain.model import Recorded, aggregate_id
from domain.types import Assignee, Percent, Priority


class ExecutionCreated(ExecutionEvent):
    """An execution was created for an order, or forked from another execution.

    `carried`: the results of `steps` in the execution from which it was forked.
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


class ExecutionUpdated(ExecutionEvent):
    """Settings were changed. The event has exactly the changed ones, with their new values.

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
"""The names in the state of members of `ExecutionUpdated` that have another name there."""
