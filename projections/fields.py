"""What an execution can be filtered and sorted by: one table, from the document to the columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from domain.execution.state import Execution
from domain.execution.values import Status
from domain.kernel import Held
from domain.values import Priority
from domain.wire import in_milliseconds
from projections.conditions import Field
from projections.kinds import (
    ATTRIBUTE,
    BOOLEAN,
    REAL,
    TAGS,
    TEXT,
    TIME,
    WHOLE,
    Kind,
    text,
    words,
)

DEEPEST_ATTRIBUTE = 20
ALIASES = {
    "id": "$id",
    "tag": "tags",
    "metrics.startedAt": "metadata.startedAt",
    "metrics.completedAt": "metadata.completedAt",
}


class Column(NamedTuple):
    """A field and its value: the one that the document shows, in the clear and final."""

    field: Field
    value: Callable[[Held[Execution]], Any]


def _always(path: str, name: str, kind: Kind, place: str) -> Column:
    return Column(Field(path, name, kind, nullable=False), attrgetter(place))


def _maybe(path: str, name: str, kind: Kind, value: Callable[[Execution], Any]) -> Column:
    return Column(Field(path, name, kind), lambda held: value(held.state))


def _time(value: datetime | None) -> datetime | None:
    """As precise as the document: what a client reads there must find the row."""
    if value is None or value.microsecond % 1000 == 0:
        return value
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _duration(state: Execution) -> int | None:
    if state.started_at is None or state.completed_at is None:
        return None
    return max(in_milliseconds(state.completed_at - state.started_at), 0)


def _active_duration(state: Execution) -> int | None:
    if state.started_at is None or state.active_since is not None:
        return None
    return in_milliseconds(state.active)


STATUSES = words(*Status)
PRIORITIES = words(*Priority)

COLUMNS = (
    _always("$id", "id", TEXT, "state.id"),
    _always("version", "version", WHOLE, "version"),
    _always("position", "position", WHOLE, "position"),
    _always("status", "status", STATUSES, "state.status.value"),
    _always("order", "order_id", TEXT, "state.order"),
    _always("service", "service", TEXT, "state.service"),
    _maybe("workflow", "workflow", TEXT, lambda s: s.workflow),
    _always("customer", "customer", TEXT, "state.customer"),
    _always("provider", "provider", TEXT, "state.provider"),
    _always("priority", "priority", PRIORITIES, "state.priority.value"),
    Column(
        Field("progress", "progress", REAL, nullable=False),
        lambda held: float(held.state.progress),
    ),
    _maybe("timeout", "timeout", WHOLE, lambda s: s.timeout and in_milliseconds(s.timeout)),
    _maybe("nextRetryAt", "next_retry_at", TIME, lambda s: _time(s.next_retry_at)),
    _maybe("assignee.type", "assignee_type", TEXT, lambda s: s.assignee and s.assignee.type),
    _maybe("assignee.id", "assignee_id", TEXT, lambda s: s.assignee and s.assignee.id),
    _maybe("assignee.name", "assignee_name", TEXT, lambda s: s.assignee and s.assignee.name),
    _maybe("assignee.model", "assignee_model", TEXT, lambda s: s.assignee and s.assignee.model),
    _maybe("result.success", "success", BOOLEAN, lambda s: s.success),
    _maybe("error.code", "error_code", TEXT, lambda s: s.error and s.error.code),
    _maybe("error.step", "error_step", TEXT, lambda s: s.error and s.error.step),
    _maybe("error.recoverable", "recoverable", BOOLEAN, lambda s: s.error and s.error.recoverable),
    _maybe("cancellation.by", "cancelled_by", TEXT, lambda s: s.cancellation and s.cancellation.by),
    _maybe(
        "cancellation.at",
        "cancelled_at",
        TIME,
        lambda s: s.cancellation and _time(s.cancellation.at),
    ),
    _maybe("metrics.duration", "duration", WHOLE, _duration),
    _maybe("metrics.activeDuration", "active_duration", WHOLE, _active_duration),
    _always("metrics.tokensUsed", "tokens_used", WHOLE, "state.used.tokens_used"),
    Column(
        Field("metrics.cost", "cost", REAL, nullable=False),
        lambda held: float(held.state.used.cost),
    ),
    _always("metrics.apiCalls", "api_calls", WHOLE, "state.used.api_calls"),
    _always("metrics.retries", "retries", WHOLE, "state.retries"),
    _always("metrics.stepsCompleted", "steps_completed", WHOLE, "state.steps_completed"),
    _always("metrics.stepsTotal", "steps_total", WHOLE, "state.steps_total"),
    Column(
        Field("metadata.createdAt", "created_at", TIME, nullable=False),
        lambda held: _time(held.state.created_at),
    ),
    Column(
        Field("metadata.updatedAt", "updated_at", TIME, nullable=False),
        lambda held: _time(held.at),
    ),
    _maybe("metadata.startedAt", "started_at", TIME, lambda s: _time(s.started_at)),
    _maybe("metadata.completedAt", "completed_at", TIME, lambda s: _time(s.completed_at)),
    _maybe("metadata.environment", "environment", TEXT, lambda s: s.metadata.get("environment")),
    _maybe("metadata.version", "metadata_version", TEXT, lambda s: s.metadata.get("version")),
)

FIELDS = {column.field.path: column.field for column in COLUMNS}
LISTED = {"tags": Field("tags", "tags", TAGS)}


def field(path: str) -> Field | None:
    """The field of a path in the document; `metadata.` also leads to free attributes."""
    path = ALIASES.get(path, path)
    found = FIELDS.get(path) or LISTED.get(path)
    if found or not path.startswith("metadata."):
        return found
    keys = tuple(path.split(".")[1:])
    try:
        text(path)
    except ValueError:
        return None
    if not all(keys) or len(keys) > DEEPEST_ATTRIBUTE:
        return None
    return Field(path, "metadata", ATTRIBUTE, keys=keys)


def sortable(path: str) -> Field | None:
    """The field of a path where rows can be ordered by it: free attributes and tags have no column."""
    return FIELDS.get(ALIASES.get(path, path))
