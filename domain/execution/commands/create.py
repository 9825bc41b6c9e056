"""The command that creates an execution."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field

from domain.errors import Invalid
from domain.execution.commands.webhooks import webhooks_from
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import ExecutionStarted, ExecutionStarting
from domain.execution.events.progress import ProgressUpdated
from domain.execution.retry_policy import RetryPolicy
from domain.execution.state import Execution
from domain.execution.step_tree import check_parents
from domain.execution.types import (
    DEFAULT_TIMEOUT,
    Metadata,
    MetricsPlan,
    OnLeaseLost,
    Silence,
    StepPlan,
    StepPlans,
    Tags,
    TimeoutPlan,
    merge_patch,
)
from domain.execution.webhook import Webhooks
from domain.model import Context, Creation, Event, Versioned
from domain.types import Assignee, Percent, Priority, Reference


class CreateExecution(Creation[Execution]):
    """Create an execution of an ordered service, which is queued, or running at once.

    Raises:
        UnknownReference: the order or the service does not exist.
    """

    wire_name: ClassVar[str] = "create"

    order: Reference
    service: Reference
    status: Literal["queued", "running"] = "queued"
    progress: Percent = 0
    assignee: Assignee | None = None
    steps: StepPlans = ()
    metrics: MetricsPlan = MetricsPlan()
    priority: Priority = Priority.NORMAL
    timeout: TimeoutPlan = DEFAULT_TIMEOUT
    retry_policy: RetryPolicy | None = None
    webhooks: Webhooks = ()
    tags: Tags = ()
    metadata: Metadata = Field(default_factory=dict)
    heartbeat_timeout: Silence | None = None
    on_lease_lost: OnLeaseLost = "restart"

    def reads(
        self, state: Execution | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        return f"order/{self.order}", f"service/{self.service}"

    def create(self, context: Context) -> Iterator[Event]:
        order = context.require("order", "order", self.order)
        service = context.require("service", "service", self.service)
        if order.service != self.service:
            raise Invalid.field(
                "service",
                f"must be `{order.service}`, which was ordered, but is `{self.service}`",
            )
        if self.progress and self.status != "running":
            raise Invalid.field(
                "progress", f"must be 0 where `status` is not `running`, but is {self.progress}"
            )
        check_steps(self.steps)
        members = {
            "workflow": service.workflow,
            "assignee": self.assignee,
            "steps": self.steps,
            "steps_total": self.metrics.steps_total,
            "retry_policy": self.retry_policy,
            "webhooks": webhooks_from(self.webhooks, (), context.new_id),
            "tags": self.tags,
            "metadata": merge_patch({}, self.metadata),
            "heartbeat_timeout": self.heartbeat_timeout,
        }
        if self.on_lease_lost != "restart":
            members["on_lease_lost"] = self.on_lease_lost
        yield ExecutionCreated(
            order=self.order,
            service=self.service,
            customer=order.customer,
            provider=service.provider,
            priority=self.priority,
            timeout=parse_timeout(self.timeout, context),
            **{name: value for name, value in members.items() if value},
        )
        if self.status == "running":
            yield ExecutionStarting()
            yield ExecutionStarted()
            if self.progress:
                yield ProgressUpdated(progress=self.progress)


def parse_timeout(timeout: timedelta, context: Context) -> timedelta | None:
    """A timeout as in events, where None means no limit. Only imported executions may have no limit.

    Raises:
        Invalid: the timeout is 0, and the sender lacks the right `import`.
    """
    if timeout:
        return timeout
    if not context.importing:
        raise Invalid.field(
            "timeout", "must be at least 1, but is 0: no limit needs the right `import`"
        )
    return None


def check_steps(steps: Sequence[StepPlan], known: Container[str] = ()) -> None:
    """Check that the ids of steps are unique, and that each parent is among the steps or `known`. Raises Invalid."""
    seen = set[str]()
    for index, step in enumerate(steps):
        if step.id in seen:
            raise Invalid.field(
                f"steps.{index}.id", f"must be given once, but `{step.id}` is given twice"
            )
        seen.add(step.id)
    check_parents(steps, known)
