"""What executions refer to: users, services, workflows, orders. And jobs, figures and what waits for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from service_executions.model import Model
from service_executions.models import ExecutionAssignee, Priority, ServiceExecution, Status


class Entry(Model):
    """What all of them have."""

    type: str = Field(alias="$type")
    id: str = Field(alias="$id")
    version: int
    position: int


class User(Entry):
    """A person or an organization."""

    name: str
    kind: str


class Service(Entry):
    """What is offered, and by whom."""

    name: str
    provider: str
    workflow: str | None = None
    description: str | None = None


class WorkflowStep(Model):
    """A step that executions of a workflow begin with."""

    id: str
    name: str
    assignee: ExecutionAssignee | None = None


class Workflow(Entry):
    """Steps that belong together."""

    name: str
    steps: list[WorkflowStep]


class Order(Entry):
    """A customer's order of a service."""

    service: str
    customer: str
    status: str
    params: Any = None
    priority: Priority | None = None
    execution: str | None = None


class Job(Entry):
    """One command for many executions, and how far it is."""

    command: str
    status: str
    matching: int
    done: int
    refused: int
    refusals: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class Preview(Model):
    """What a command would do to the executions that meet a filter."""

    matching: int
    would_change: int = Field(alias="wouldChange")
    unchanged: int
    would_be_refused: int = Field(alias="wouldBeRefused")
    by_status: dict[str, int] = Field(alias="byStatus")


class Waiting(Model):
    """What waits for a person: a step, or an execution that is paused."""

    type: str
    execution: str
    order: str
    service: str
    customer: str
    status: Status
    priority: Priority
    since: datetime
    assignee: ExecutionAssignee | None = None
    step: dict[str, Any] | None = None


class Durations(Model):
    """Milliseconds, of executions that have ended."""

    count: int
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Figures(Model):
    """Counts, rates, durations and cost; with `groups` where they were asked for by something."""

    total: int
    statuses: dict[str, int]
    success_rate: float | None = Field(default=None, alias="successRate")
    result_success_rate: float | None = Field(default=None, alias="resultSuccessRate")
    duration: Durations
    total_cost: float = Field(alias="totalCost")
    tokens: int
    api_calls: int = Field(alias="apiCalls")
    error_codes: dict[str, int] = Field(alias="errorCodes")
    first_seen: datetime | None = Field(default=None, alias="firstSeen")
    last_seen: datetime | None = Field(default=None, alias="lastSeen")
    key: Any = None
    groups: list[Figures] = Field(default_factory=lambda: list[Figures]())  # noqa: PLW0108 - not known yet


ServiceExecution.model_rebuild()  # its parts stand behind it: a class that follows on it needs them


class CellExecution(ServiceExecution):
    """An execution of one of several logs: `cell` is the name of the log."""

    cell: str


class CellFigures(Figures):
    """The figures of several logs: how far each went, and which were away, and why."""

    cells: dict[str, dict[str, int]]
    missing: list[dict[str, str]] = Field(default_factory=list[dict[str, str]])


class Cause(Model):
    """The event that a change follows from."""

    type: str
    version: int
    position: int


class Change(Model):
    """One operation of a patch (RFC 6902), and what caused it."""

    op: str
    path: str
    value: Any = None
    event: Cause
    actor: str | None = None
    time: datetime | None = None
