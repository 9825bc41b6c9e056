"""Documents as the service shows them. Made by scripts/sdk of /openapi.json: do not edit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import Field

from service_executions.model import Model

Priority: TypeAlias = Literal["low", "normal", "high", "urgent"] | str

Status: TypeAlias = (
    Literal["queued", "starting", "running", "paused", "completed", "failed", "cancelled", "retry"]
    | str
)

StepStatus: TypeAlias = Literal["pending", "running", "completed", "failed", "skipped"] | str


class Receipt(Model):
    """Proves that an event is in the log: the path (RFC 9162) leads from its leaf to the root that the note (C2SP checkpoint) has signed."""

    position: int
    leaf_hash: str = Field(alias="leafHash")
    tree_size: int = Field(alias="treeSize")
    root_hash: str = Field(alias="rootHash")
    path: list[str]
    note: str
    public_key: str = Field(alias="publicKey")


class RetryPolicy(Model):
    """When and how often a recoverable failure is tried again. `maxRetries: 3` is 4 attempts in all."""

    max_retries: int = Field(alias="maxRetries")
    backoff: Literal["linear", "exponential"] | str
    initial_delay: int = Field(alias="initialDelay")
    max_delay: int = Field(alias="maxDelay")
    jitter: Literal["none", "full", "equal"] | str | None = None


class ServiceExecution(Model):
    """A service execution."""

    type: str = Field(alias="$type")
    id: str = Field(alias="$id")
    order: str | dict[str, Any]
    service: str | dict[str, Any]
    workflow: str | dict[str, Any] | None = None
    customer: str | dict[str, Any]
    provider: str | dict[str, Any]
    status: Status
    progress: float
    assignee: ExecutionAssignee | None = None
    result: ExecutionResult | None = None
    error: ExecutionError | None = None
    cancellation: ExecutionCancellation | None = None
    pause: ExecutionPause | None = None
    steps: list[ExecutionStep]
    checkpoints: list[ExecutionCheckpoint]
    resumed_from: str | None = Field(default=None, alias="resumedFrom")
    forked_from: ExecutionOrigin | None = Field(default=None, alias="forkedFrom")
    attempts: list[ExecutionAttempt]
    next_retry_at: datetime | None = Field(default=None, alias="nextRetryAt")
    heartbeat_timeout: int | None = Field(default=None, alias="heartbeatTimeout")
    last_heartbeat_at: datetime | None = Field(default=None, alias="lastHeartbeatAt")
    stalled: bool | None = None
    claimed_by: ExecutionClaim | None = Field(default=None, alias="claimedBy")
    metrics: ExecutionMetrics
    logs: list[ExecutionLog] | None = None
    logs_total: int | None = Field(default=None, alias="logsTotal")
    priority: Priority
    timeout: int | None
    on_lease_lost: Literal["restart", "resume"] | str | None = Field(
        default=None, alias="onLeaseLost"
    )
    retry_policy: RetryPolicy | None = Field(default=None, alias="retryPolicy")
    webhooks: list[ExecutionWebhook]
    tags: list[str]
    metadata: ExecutionMetadata
    version: int
    position: int
    erased: bool | None = None
    unreadable: bool | None = None
    receipt: Receipt | None = None


class ExecutionAssignee(Model):
    """Who or what does the work."""

    type: Literal["ai-agent", "human", "hybrid", "system"] | str
    id: str | None = None
    name: str | None = None
    model: str | None = None


class ExecutionAttempt(Model):
    """An attempt; `delay` is the wait before the next one in milliseconds, `worker` the worker that had claimed it."""

    number: int
    started_at: datetime = Field(alias="startedAt")
    ended_at: datetime | None = Field(default=None, alias="endedAt")
    outcome: Literal["completed", "failed", "cancelled", "released"] | str | None = None
    error: ExecutionError | None = None
    delay: int | None = None
    worker: str | None = None


class ExecutionCancellation(Model):
    """Who cancelled the execution or the order, when, and why."""

    reason: str | None = None
    by: str
    at: datetime


class ExecutionCheckpoint(Model):
    """A saved state from which the execution can be resumed."""

    id: str
    timestamp: datetime
    state: dict[str, Any] | None
    step: str


class ExecutionClaim(Model):
    """The worker that has claimed the execution, and the end of its lease unless it gives another sign of life. While the
    execution is paused, the lease does not run.
    """

    worker: str
    lease_until: datetime | None = Field(default=None, alias="leaseUntil")


class ExecutionError(Model):
    """An error; message and stack are null after they were erased."""

    code: str
    message: str | None
    stack: str | None = None
    step: str | None = None
    recoverable: bool
    retry_count: int = Field(alias="retryCount")


class ExecutionLog(Model):
    """A log line; `timestamp` is the time that the client gave, else that of the recording."""

    timestamp: datetime
    recorded_at: datetime = Field(alias="recordedAt")
    level: Literal["debug", "info", "warn", "error"] | str
    step: str | None = None
    message: str | None
    context: dict[str, Any] | None = None
    erased: bool | None = None
    unreadable: bool | None = None


class ExecutionMetadata(Model):
    """Times, and the attributes that clients have set."""

    created_at: datetime = Field(alias="createdAt")
    updated_at: datetime = Field(alias="updatedAt")
    started_at: datetime | None = Field(default=None, alias="startedAt")
    completed_at: datetime | None = Field(default=None, alias="completedAt")
    environment: str | None = None
    version: str | None = None


class ExecutionMetrics(Model):
    """The durations, in milliseconds, and the usage of an execution.

    Until the execution has ended, `durationFinal` is false and both durations count up to the present.
    """

    started_at: datetime | None = Field(default=None, alias="startedAt")
    completed_at: datetime | None = Field(default=None, alias="completedAt")
    duration: int | None = None
    duration_final: bool | None = Field(default=None, alias="durationFinal")
    active_duration: int | None = Field(default=None, alias="activeDuration")
    tokens_used: int = Field(alias="tokensUsed")
    cost: float
    currency: str
    api_calls: int = Field(alias="apiCalls")
    retries: int
    steps_completed: int = Field(alias="stepsCompleted")
    steps_total: int = Field(alias="stepsTotal")


class ExecutionOrigin(Model):
    """The execution from which this one was forked, and its version then."""

    execution: str
    version: int


class ExecutionPause(Model):
    """Who paused the execution, when, and why."""

    reason: str | None = None
    by: str
    at: datetime


class ExecutionResult(Model):
    """The result of an execution."""

    success: bool
    output: Any
    summary: str
    artifacts: list[str] | None = None


class ExecutionStep(Model):
    """A step of the work; `parent` is the id of the step of which it is a part."""

    id: str
    name: str
    status: StepStatus
    parent: str | None = None
    kind: Literal["task", "agent", "tool", "model", "human"] | str | None = None
    started_at: datetime | None = Field(default=None, alias="startedAt")
    completed_at: datetime | None = Field(default=None, alias="completedAt")
    duration: int | None = None
    assignee: ExecutionAssignee | None = None
    input: Any = None
    output: Any = None
    error: ExecutionError | None = None
    reason: str | None = None
    metrics: ExecutionUsage | None = None
    erased: bool | None = None


class ExecutionUsage(Model):
    """The usage of a step."""

    tokens_used: int = Field(alias="tokensUsed")
    cost: float
    currency: str
    api_calls: int = Field(alias="apiCalls")


class ExecutionWebhook(Model):
    """A webhook, to which events are sent; the values of its headers are never shown."""

    id: str
    url: str
    events: list[str]
    headers: dict[str, str] | None = None
    format: Literal["json", "slack"] | str
    secret: str | None = None
