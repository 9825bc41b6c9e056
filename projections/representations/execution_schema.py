"""The models of an execution as clients see it, from which OpenAPI is made and by which tests check documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field

from domain.execution.retry_policy import RetryPolicy
from domain.execution.types import LogLevel, OnLeaseLost, Status, StepKind, StepStatus
from domain.json_forms import Count, Time
from domain.model import Value
from domain.types import AssigneeType, Percent, Priority

T = TypeVar("T")

ERASED = "null once it was erased"
Erasable = Annotated[T | None, Field(description=ERASED)]
"""The type of sealed content, which is null after its key was destroyed."""
Related = str | dict[str, Any]
"""The type of a reference: an id, or the object if the client had it expanded."""


def _remove_nulls(schema: dict[str, Any]) -> None:
    """Remove null from the schemas of optional members: a document leaves out what is absent, and null means erased."""
    for name, member in schema.get("properties", {}).items():
        if name in schema.get("required", ()):
            continue
        member.pop("default", None)
        if member.get("description") == ERASED:
            continue
        kinds = [kind for kind in member.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            member.pop("anyOf")
            member.update(kinds[0])
        elif kinds:
            member["anyOf"] = kinds


class Shown(Value):
    """The base of the models. An optional member that a document leaves out is None."""

    model_config = ConfigDict(json_schema_extra=_remove_nulls)


class ShownAssignee(Shown):
    """Who or what does the work."""

    type: AssigneeType
    id: str | None = None
    name: str | None = None
    model: str | None = None


class ShownResult(Shown):
    """The result of an execution."""

    success: bool
    output: Any
    summary: str
    artifacts: list[str] | None = None


class ShownError(Shown):
    """An error; message and stack are null after they were erased."""

    code: str
    message: Erasable[str]
    stack: Erasable[str] = None
    step: str | None = None
    recoverable: bool
    retry_count: Count


class ShownCancellation(Shown):
    """Who cancelled the execution or the order, when, and why."""

    reason: Erasable[str] = None
    by: str
    at: Time


class ShownPause(Shown):
    """Who paused the execution, when, and why."""

    reason: Erasable[str] = None
    by: str
    at: Time


class ShownOrigin(Shown):
    """The execution from which this one was forked, and its version then."""

    execution: str
    version: Count


class ShownUsage(Shown):
    """The usage of a step."""

    tokens_used: Count
    cost: float
    currency: str
    api_calls: Count


class ShownStep(Shown):
    """A step of the work; `parent` is the id of the step of which it is a part."""

    id: str
    name: str
    status: StepStatus
    parent: str | None = None
    kind: StepKind | None = None
    started_at: Time | None = None
    completed_at: Time | None = None
    duration: Count | None = None
    assignee: ShownAssignee | None = None
    input: Erasable[Any] = None
    output: Erasable[Any] = None
    error: ShownError | None = None
    reason: Erasable[str] = None
    metrics: ShownUsage | None = None
    erased: Literal[True] | None = None


class ShownCheckpoint(Shown):
    """A saved state from which the execution can be resumed."""

    id: str
    timestamp: Time
    state: Erasable[dict[str, Any]]
    step: str


class ShownAttempt(Shown):
    """An attempt; `delay` is the wait before the next one in milliseconds, `worker` the worker that had claimed it."""

    number: Count
    started_at: Time
    ended_at: Time | None = None
    outcome: Literal["completed", "failed", "cancelled", "released"] | None = None
    error: ShownError | None = None
    delay: Count | None = None
    worker: str | None = None


class ShownClaim(Shown):
    """The worker that has claimed the execution, and the end of its lease unless it gives another sign of life. While the
    execution is paused, the lease does not run.
    """

    worker: str
    lease_until: Time | None = None


class ShownMetrics(Shown):
    """The durations, in milliseconds, and the usage of an execution.

    Until the execution has ended, `durationFinal` is false and both durations count up to the present.
    """

    started_at: Time | None = None
    completed_at: Time | None = None
    duration: Count | None = None
    duration_final: bool | None = None
    active_duration: Count | None = None
    tokens_used: Count
    cost: float
    currency: str
    api_calls: Count
    retries: Count
    steps_completed: Count
    steps_total: Count


class ShownWebhook(Shown):
    """A webhook, to which events are sent; the values of its headers are never shown."""

    id: str
    url: str
    events: list[str]
    headers: dict[str, Literal["***"]] | None = None
    format: Literal["json", "slack"]
    secret: str | None = None
    """Only in the answer to the command that creates it."""


class ShownLog(Shown):
    """A log line; `timestamp` is the time that the client gave, else that of the recording."""

    timestamp: Time
    recorded_at: Time
    level: LogLevel
    step: str | None = None
    message: Erasable[str]
    context: dict[str, Any] | None = None
    erased: Literal[True] | None = None
    unreadable: Literal[True] | None = None


class ShownMetadata(Shown):
    """Times, and the attributes that clients have set."""

    model_config = ConfigDict(extra="allow")

    created_at: Time
    updated_at: Time
    started_at: Time | None = None
    completed_at: Time | None = None
    environment: str | None = None
    version: str | None = None


class ServiceExecution(Shown):
    """A service execution."""

    type: Annotated[Literal["ServiceExecution"], Field(alias="$type")]
    id: Annotated[str, Field(alias="$id")]
    order: Related
    service: Related
    workflow: Related | None = None
    customer: Related
    provider: Related
    status: Status
    progress: Percent
    assignee: ShownAssignee | None = None
    result: Erasable[ShownResult] = None
    error: ShownError | None = None
    cancellation: ShownCancellation | None = None
    pause: ShownPause | None = None
    steps: list[ShownStep]
    checkpoints: list[ShownCheckpoint]
    resumed_from: str | None = None
    forked_from: ShownOrigin | None = None
    attempts: list[ShownAttempt]
    next_retry_at: Time | None = None
    heartbeat_timeout: Count | None = None
    last_heartbeat_at: Time | None = None
    stalled: Literal[True] | None = None
    claimed_by: ShownClaim | None = None
    metrics: ShownMetrics
    logs: list[ShownLog] | None = None
    logs_total: Count | None = None
    priority: Priority
    timeout: Count | None
    on_lease_lost: OnLeaseLost | None = None
    retry_policy: RetryPolicy | None = None
    webhooks: list[ShownWebhook]
    tags: list[str]
    metadata: ShownMetadata
    version: Count
    position: Count
    erased: Literal[True] | None = None
    unreadable: Literal[True] | None = None
