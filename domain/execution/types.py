"""The types of the fields of executions and of their commands, as in JSON."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from domain.json_equality import same_json
from domain.json_forms import Count, Milliseconds, whole
from domain.model import Value
from domain.sealing import Sealed
from domain.types import (
    NO_CONTROLS,
    ClearObject,
    Cost,
    Json,
    Label,
    LongText,
    Name,
    StepAssignee,
    Text,
)

MOST_STEPS = 10_000
MOST_TAGS = 50
HOUR, DAY = 3_600_000, 86_400_000
DEFAULT_TIMEOUT = timedelta(hours=1)
SERVER_OWNED = frozenset({"createdAt", "updatedAt", "startedAt", "completedAt"})

Timeout = Annotated[timedelta, Milliseconds(1, DAY)]
TimeoutPlan = Annotated[timedelta, Milliseconds(0, DAY)]
"""A timeout as a client sends it: 0 means no limit, which is None in events and states."""

Lease = Annotated[timedelta, Milliseconds(1_000, HOUR)]
DEFAULT_LEASE = timedelta(minutes=1)
LEASE_LOST = "LEASE_LOST"
"""The code of the error of an execution that has lost too many leases in a row."""
MOST_LOST = 5
"""The number of leases lost in a row after which an execution fails, unless the setting is another."""
Silence = Annotated[timedelta, Milliseconds(1_000, DAY)]
"""How long a running execution may give no sign of life before it counts as stalled."""
OnLeaseLost = Literal["restart", "resume"]
"""Whether the next worker after a lost lease begins at the start, or at the last checkpoint."""

LogLevel = Literal["debug", "info", "warn", "error"]


class Status(StrEnum):
    """The status of an execution."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRY = "retry"


class StepStatus(StrEnum):
    """The status of a step."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class ExecutionResult(Value):
    """The result of an execution. `success`: whether the purpose was reached; a run that ended normally may have missed it."""

    success: bool
    output: Json
    summary: LongText
    artifacts: Annotated[tuple[Text, ...], Field(max_length=1_000)] | None = None

    def same(self, other: object) -> bool:
        """Whether the other is an equal result, with its output compared as JSON."""
        if not isinstance(other, ExecutionResult) or not same_json(self.output, other.output):
            return False
        compared = ("success", "summary", "artifacts")
        return all(getattr(self, name) == getattr(other, name) for name in compared)


MentionedStep = Annotated[str, Field(max_length=255, pattern=NO_CONTROLS)]
"""The id of a step that need not exist; may be empty."""


class ExecutionError(Value):
    """The error of an attempt or a step. `retryCount` is the count of the client; the server has its own."""

    code: Label
    message: Sealed[LongText]
    stack: Sealed[LongText] | None = None
    step: MentionedStep | None = None
    recoverable: bool = False
    retry_count: Count = 0

    def same(self, other: ExecutionError | None) -> bool:
        """Whether both are equal, apart from their counts."""
        return other is not None and _compared_members(self) == _compared_members(other)


def _compared_members(error: ExecutionError) -> tuple[object, ...]:
    return error.code, error.message, error.stack, error.step, error.recoverable


class Usage(Value):
    """Usage that is added to the earlier usage of an execution, or of a step."""

    tokens_used: Count = 0
    cost: Cost = Decimal(0)
    api_calls: Count = 0
    model: Label | None = None
    step: MentionedStep | None = None


StepKind = Literal["task", "agent", "tool", "model", "human"]
"""The kind of a step: a piece of work, a turn of an agent, a call of a tool or of a model, or the work of a person."""


class StepPlan(Value):
    """The declaration of a step before it is started. `parent` is the id of the step of which it is a part."""

    id: Label
    name: Name
    status: Literal["pending"] = "pending"
    parent: Label | None = None
    kind: StepKind | None = None
    assignee: StepAssignee | None = None
    input: Sealed[Json] = None


class ForkedFrom(Value):
    """The execution from which a fork was made, and the version of it with whose state the fork began."""

    execution: str
    version: int


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if taken := SERVER_OWNED & value.keys():
        names = ", ".join(f"`{name}`" for name in sorted(taken))
        raise ValueError(f"must not have {names}, which the server sets")
    for name in ("environment", "version"):
        if not isinstance(value.get(name), str | None):
            raise ValueError(f"must have text as `{name}`")
    return value


Metadata = Annotated[
    ClearObject,
    AfterValidator(_metadata),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                "environment": {"type": ["string", "null"]},
                "version": {"type": ["string", "null"]},
                **dict.fromkeys(sorted(SERVER_OWNED), False),
            },
            "propertyNames": {"pattern": "^[^$]"},
            "additionalProperties": True,
        }
    ),
]
"""`environment`, `version` and free attributes. The names of times are reserved for the server."""
Tags = Annotated[tuple[Label, ...], Field(max_length=MOST_TAGS)]
StepPlans = Annotated[tuple[StepPlan, ...], Field(max_length=MOST_STEPS)]


class MetricsPlan(Value):
    """The number of planned steps; more may be added later."""

    steps_total: Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(whole)] = 0
    steps_completed: Annotated[int, Field(ge=0, le=0), BeforeValidator(whole)] = 0


V = TypeVar("V", bound=Value)


def copy_set_fields(source: Value, kind: type[V], **more: object) -> V:
    """Make a value of class `kind` from the fields of `source` that were set and that `kind` has, and from `more`."""
    given = source.model_fields_set & kind.model_fields.keys()
    return kind(**{name: getattr(source, name) for name in given} | more)


def merge_patch(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a merge patch (RFC 7396): null removes a member, objects are merged, any other value replaces a member."""
    after = dict(before)
    for name, value in patch.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            inner = after.get(name)
            after[name] = merge_patch(inner if isinstance(inner, dict) else {}, value)
        else:
            after[name] = value
    return after
