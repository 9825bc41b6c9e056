"""The documents besides executions: users, services, workflows, orders, jobs, inbox items, figures and changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from service_executions.model import Model
from service_executions.models import ExecutionAssignee, Priority, ServiceExecution, Status


class Entry(Model):
    """The members that all entries of the catalog have."""

    type: str = Field(alias="$type")
    id: str = Field(alias="$id")
    version: int
    position: int


class User(Entry):
    """A person or an organization."""

    name: str
    kind: str


class Service(Entry):
    """A service, and its provider."""

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
    """A sequence of steps for executions."""

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
    """One command for many executions, and its progress."""

    command: str
    status: str
    matching: int
    done: int
    refused: int
    refusals: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class Preview(Model):
    """The numbers of executions that a bulk command would change, leave unchanged and refuse."""

    matching: int
    would_change: int = Field(alias="wouldChange")
    unchanged: int
    would_be_refused: int = Field(alias="wouldBeRefused")
    by_status: dict[str, int] = Field(alias="byStatus")


class Waiting(Model):
    """An inbox item: a step that waits for a person, or a paused execution."""

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
    """The durations of executions that have ended, in milliseconds."""

    count: int
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Figures(Model):
    """Counts, rates, durations and costs; with `groups` if they were grouped by a key."""

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


ServiceExecution.model_rebuild()  # resolves its parts, which a subclass needs


class CellExecution(ServiceExecution):
    """An execution in one of several logs; `cell` is the name of the log."""

    cell: str


class CellFigures(Figures):
    """The figures of several logs: `cells` are the positions of the logs, `missing` those that were unavailable and why."""

    cells: dict[str, dict[str, int]]
    missing: list[dict[str, str]] = Field(default_factory=list[dict[str, str]])


class Cause(Model):
    """The event that caused a change."""

    type: str
    version: int
    position: int


class Change(Model):
    """An operation of a patch (RFC 6902), and its cause."""

    op: str
    path: str
    value: Any = None
    event: Cause
    actor: str | None = None
    time: datetime | None = None
