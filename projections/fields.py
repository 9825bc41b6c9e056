"""What an execution can be filtered and sorted by: one table, from the document to the columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
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


def _always(path: str, name: str, kind: Kind, value: Callable[[Held[Execution]], Any]) -> Column:
    return Column(Field(path, name, kind, nullable=False), value)


def _maybe(path: str, name: str, kind: Kind, value: Callable[[Held[Execution]], Any]) -> Column:
    return Column(Field(path, name, kind), value)


def _time(value: datetime | None) -> datetime | None:
    """As precise as the document: what a client reads there must find the row."""
    return value and value.replace(microsecond=value.microsecond // 1000 * 1000)


def _milliseconds(value: timedelta | None) -> int | None:
    return None if value is None else in_milliseconds(value)


def _member(whole: object, name: str) -> Any:
    return None if whole is None else getattr(whole, name)


def _duration(state: Execution) -> int | None:
    if state.started_at is None or state.completed_at is None:
        return None
    return in_milliseconds(state.completed_at - state.started_at)


def _active_duration(state: Execution) -> int | None:
    if state.started_at is None or state.active_since is not None:
        return None
    return in_milliseconds(state.active)


STATUSES = words(*Status)
PRIORITIES = words(*Priority)

COLUMNS = (
    _always("$id", "id", TEXT, lambda held: held.state.id),
    _always("version", "version", WHOLE, lambda held: held.version),
    _always("position", "position", WHOLE, lambda held: held.position),
    _always("status", "status", STATUSES, lambda held: held.state.status.value),
    _always("order", "order_id", TEXT, lambda held: held.state.order),
    _always("service", "service", TEXT, lambda held: held.state.service),
    _maybe("workflow", "workflow", TEXT, lambda held: held.state.workflow),
    _always("customer", "customer", TEXT, lambda held: held.state.customer),
    _always("provider", "provider", TEXT, lambda held: held.state.provider),
    _always("priority", "priority", PRIORITIES, lambda held: held.state.priority.value),
    _always("progress", "progress", REAL, lambda held: float(held.state.progress)),
    _maybe("timeout", "timeout", WHOLE, lambda held: _milliseconds(held.state.timeout)),
    _maybe("nextRetryAt", "next_retry_at", TIME, lambda held: _time(held.state.next_retry_at)),
    _maybe("assignee.type", "assignee_type", TEXT, lambda h: _member(h.state.assignee, "type")),
    _maybe("assignee.id", "assignee_id", TEXT, lambda h: _member(h.state.assignee, "id")),
    _maybe("assignee.name", "assignee_name", TEXT, lambda h: _member(h.state.assignee, "name")),
    _maybe("assignee.model", "assignee_model", TEXT, lambda h: _member(h.state.assignee, "model")),
    _maybe("result.success", "success", BOOLEAN, lambda held: held.state.success),
    _maybe("error.code", "error_code", TEXT, lambda held: _member(held.state.error, "code")),
    _maybe("error.step", "error_step", TEXT, lambda held: _member(held.state.error, "step")),
    _maybe(
        "error.recoverable",
        "error_recoverable",
        BOOLEAN,
        lambda held: _member(held.state.error, "recoverable"),
    ),
    _maybe("cancellation.by", "cancelled_by", TEXT, lambda h: _member(h.state.cancellation, "by")),
    _maybe(
        "cancellation.at",
        "cancelled_at",
        TIME,
        lambda held: _time(_member(held.state.cancellation, "at")),
    ),
    _maybe("metrics.duration", "duration", WHOLE, lambda held: _duration(held.state)),
    _maybe(
        "metrics.activeDuration",
        "active_duration",
        WHOLE,
        lambda held: _active_duration(held.state),
    ),
    _always("metrics.tokensUsed", "tokens_used", WHOLE, lambda held: held.state.used.tokens_used),
    _always("metrics.cost", "cost", REAL, lambda held: float(held.state.used.cost)),
    _always("metrics.apiCalls", "api_calls", WHOLE, lambda held: held.state.used.api_calls),
    _always("metrics.retries", "retries", WHOLE, lambda held: held.state.retries),
    _always(
        "metrics.stepsCompleted", "steps_completed", WHOLE, lambda held: held.state.steps_completed
    ),
    _always("metrics.stepsTotal", "steps_total", WHOLE, lambda held: held.state.steps_total),
    _always("metadata.createdAt", "created_at", TIME, lambda held: _time(held.state.created_at)),
    _always("metadata.updatedAt", "updated_at", TIME, lambda held: _time(held.at)),
    _maybe("metadata.startedAt", "started_at", TIME, lambda held: _time(held.state.started_at)),
    _maybe(
        "metadata.completedAt", "completed_at", TIME, lambda held: _time(held.state.completed_at)
    ),
    _maybe(
        "metadata.environment",
        "environment",
        TEXT,
        lambda held: held.state.metadata.get("environment"),
    ),
    _maybe("metadata.version", "metadata_version", TEXT, lambda h: h.state.metadata.get("version")),
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
