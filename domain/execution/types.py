"""The values that commands carry, in the form they have on the wire."""

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
"""As a client asks for it: 0 is no limit, which is None in events and states."""


Lease = Annotated[timedelta, Milliseconds(1_000, HOUR)]
DEFAULT_LEASE = timedelta(minutes=1)
LEASE_LOST = "LEASE_LOST"
"""The code of the error of an execution that has lost too many leases in a row."""
MOST_LOST = 5
"""So many, if nothing else is set."""
Silence = Annotated[timedelta, Milliseconds(1_000, DAY)]
"""How long a running execution may give no sign of life before it is stalled."""
OnLeaseLost = Literal["restart", "resume"]
"""What the next worker begins with when a lease was lost: with the start, or the last checkpoint."""

LogLevel = Literal["debug", "info", "warn", "error"]


class Status(StrEnum):
    """Where an execution stands."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRY = "retry"


class StepStatus(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class ExecutionResult(Value):
    """What came out. `success` is the outcome of the business, not of the run."""

    success: bool
    output: Json
    summary: LongText
    artifacts: Annotated[tuple[Text, ...], Field(max_length=1_000)] | None = None

    def same(self, other: object) -> bool:
        """Whether the other is a result that says the same."""
        if not isinstance(other, ExecutionResult) or not same_json(self.output, other.output):
            return False
        compared = ("success", "summary", "artifacts")
        return all(getattr(self, name) == getattr(other, name) for name in compared)


MentionedStep = Annotated[str, Field(max_length=255, pattern=NO_CONTROLS)]
"""The id of a step that need not exist; may be empty."""


class ExecutionError(Value):
    """What went wrong. `retryCount` is the client's own count; the server keeps its own."""

    code: Label
    message: Sealed[LongText]
    stack: Sealed[LongText] | None = None
    step: MentionedStep | None = None
    recoverable: bool = False
    retry_count: Count = 0

    def same(self, other: ExecutionError | None) -> bool:
        """Whether both tell of the same failure; counts may differ."""
        return other is not None and _members(self) == _members(other)


def _members(error: ExecutionError) -> tuple[object, ...]:
    return error.code, error.message, error.stack, error.step, error.recoverable


class Usage(Value):
    """What was used up, to be added to what was used before."""

    tokens_used: Count = 0
    cost: Cost = Decimal(0)
    api_calls: Count = 0
    model: Label | None = None
    step: MentionedStep | None = None


StepKind = Literal["task", "agent", "tool", "model", "human"]
"""What a step is: a piece of work, an agent's turn, a call of a tool or of a model, a person's work."""


class StepPlan(Value):
    """A step as it is declared before it starts. `parent` is the id of the step it is part of."""

    id: Label
    name: Name
    status: Literal["pending"] = "pending"
    parent: Label | None = None
    kind: StepKind | None = None
    assignee: StepAssignee | None = None
    input: Sealed[Json] = None


class ForkedFrom(Value):
    """An execution, and the version of it whose state a fork begins with."""

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
"""`environment`, `version` and free attributes; the times in it are the server's."""
Tags = Annotated[tuple[Label, ...], Field(max_length=MOST_TAGS)]
StepPlans = Annotated[tuple[StepPlan, ...], Field(max_length=MOST_STEPS)]


class MetricsPlan(Value):
    """How many steps there will be; more may come."""

    steps_total: Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(whole)] = 0
    steps_completed: Annotated[int, Field(ge=0, le=0), BeforeValidator(whole)] = 0


V = TypeVar("V", bound=Value)


def copy_set_fields(source: Value, kind: type[V], **more: object) -> V:
    """A `kind` with those fields that were set in `source` and that it has, and `more`."""
    given = source.model_fields_set & kind.model_fields.keys()
    return kind(**{name: getattr(source, name) for name in given} | more)


def merge_patch(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`before` with a merge patch (RFC 7396) applied: null removes, objects merge, all else replaces."""
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
