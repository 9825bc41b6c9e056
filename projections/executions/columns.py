"""The fields by which executions are filtered and sorted: for each, its path in the document and its column.

How to add a field: CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from domain.execution.retry_policy import RetryPolicy
from domain.execution.state import Execution
from domain.execution.types import Status
from domain.json_forms import in_milliseconds
from domain.model import Versioned
from domain.types import Priority
from projections.query.ast import Field
from projections.query.field_paths import FieldSegment, Keys, readings, segments
from projections.query.field_types import (
    ATTRIBUTE,
    BOOLEAN,
    REAL,
    TAGS,
    TEXT,
    TIME,
    WHOLE,
    FieldKind,
    indexable,
    text,
    words,
)

ALIASES = {
    "id": "$id",
    "tag": "tags",
    "metrics.startedAt": "metadata.startedAt",
    "metrics.completedAt": "metadata.completedAt",
}


class Column(NamedTuple):
    """A field, and the function that takes its value from a state: the value that the document shows. Only values that
    are neither sealed nor growing with time have a column.
    """

    field: Field
    value: Callable[[Versioned[Execution]], Any]


Value = Callable[[Versioned[Execution]], Any]


def _always(path: str, name: str, kind: FieldKind, value: Value | str) -> Column:
    return Column(Field(path, name, kind, nullable=False), _from(value))


def _maybe(path: str, name: str, kind: FieldKind, value: Value | str) -> Column:
    return Column(Field(path, name, kind), _from(value))


def _policy(member: str, name: str, kind: FieldKind, value: Callable[[RetryPolicy], Any]) -> Column:
    def value_of(versioned: Versioned[Execution]) -> Any:
        policy = versioned.state.retry_policy
        return None if policy is None else value(policy)

    return _maybe(f"retryPolicy.{member}", name, kind, value_of)


def _from(value: Value | str) -> Value:
    """Return a function for a value or an attribute path. `attrgetter` follows a path in C, which matters because a
    rebuild reads dozens of values for each row.
    """
    return attrgetter(value) if isinstance(value, str) else value


def _metadata(versioned: Versioned[Execution], name: str) -> str | None:
    """Return a text of the metadata, which may have any length, as an index can hold it."""
    value = versioned.state.metadata.get(name)
    return None if value is None else indexable(value)


def _time(value: datetime | None) -> datetime | None:
    """Cut a time to milliseconds, as in the document: the time that a client reads there must find the row."""
    if value is None or value.microsecond % 1000 == 0:
        return value
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _duration(versioned: Versioned[Execution]) -> int | None:
    state = versioned.state
    if state.started_at is None or state.completed_at is None:
        return None
    return in_milliseconds(state.duration(state.completed_at))


def _active_duration(versioned: Versioned[Execution]) -> int | None:
    state = versioned.state
    if state.started_at is None or state.active_since is not None:
        return None
    return in_milliseconds(state.active_duration(state.since))


STATUSES = words(*Status)
PRIORITIES = words(*Priority)

COLUMNS = (
    _always("$id", "id", TEXT, "state.id"),
    _always("version", "version", WHOLE, "version"),
    _always("position", "position", WHOLE, "position"),
    _always("status", "status", STATUSES, "state.status._value_"),
    _always("order", "order_id", TEXT, "state.order"),
    _always("service", "service", TEXT, "state.service"),
    _maybe("workflow", "workflow", TEXT, "state.workflow"),
    _always("customer", "customer", TEXT, "state.customer"),
    _always("provider", "provider", TEXT, "state.provider"),
    _always("priority", "priority", PRIORITIES, "state.priority._value_"),
    _always("progress", "progress", REAL, lambda h: float(h.state.progress)),
    _maybe(
        "timeout", "timeout", WHOLE, lambda h: h.state.timeout and in_milliseconds(h.state.timeout)
    ),
    _maybe("nextRetryAt", "next_retry_at", TIME, lambda h: _time(h.state.next_retry_at)),
    _maybe(
        "heartbeatTimeout",
        "heartbeat_timeout",
        WHOLE,
        lambda h: h.state.heartbeat_timeout and in_milliseconds(h.state.heartbeat_timeout),
    ),
    _maybe("stalled", "stalled", BOOLEAN, lambda h: h.state.stalled or None),
    _maybe("claimedBy.worker", "worker", TEXT, lambda h: h.state.claim and h.state.claim.worker),
    _maybe(
        "onLeaseLost",
        "on_lease_lost",
        TEXT,
        lambda h: None if h.state.on_lease_lost == "restart" else h.state.on_lease_lost,
    ),
    _maybe(
        "assignee.type", "assignee_type", TEXT, lambda h: h.state.assignee and h.state.assignee.type
    ),
    _maybe("assignee.id", "assignee_id", TEXT, lambda h: h.state.assignee and h.state.assignee.id),
    _maybe(
        "assignee.name",
        "assignee_name",
        TEXT,
        lambda h: h.state.assignee and indexable(h.state.assignee.name),
    ),
    _maybe(
        "assignee.model",
        "assignee_model",
        TEXT,
        lambda h: h.state.assignee and h.state.assignee.model,
    ),
    _policy("maxRetries", "max_retries", WHOLE, lambda policy: policy.max_retries),
    _policy("backoff", "backoff", TEXT, lambda policy: policy.backoff),
    _policy(
        "initialDelay",
        "initial_delay",
        WHOLE,
        lambda policy: in_milliseconds(policy.initial_delay),
    ),
    _policy("maxDelay", "max_delay", WHOLE, lambda policy: in_milliseconds(policy.max_delay)),
    _policy("jitter", "jitter", TEXT, lambda policy: policy.jitter),
    _maybe("result.success", "success", BOOLEAN, "state.success"),
    _maybe("error.code", "error_code", TEXT, lambda h: h.state.error and h.state.error.code),
    _maybe("error.step", "error_step", TEXT, lambda h: h.state.error and h.state.error.step),
    _maybe(
        "error.recoverable",
        "recoverable",
        BOOLEAN,
        lambda h: h.state.error and h.state.error.recoverable,
    ),
    _maybe(
        "error.retryCount",
        "retry_count",
        WHOLE,
        lambda h: h.state.error and h.state.error.retry_count,
    ),
    _maybe(
        "cancellation.by",
        "cancelled_by",
        TEXT,
        lambda h: h.state.cancellation and h.state.cancellation.by,
    ),
    _maybe(
        "cancellation.at",
        "cancelled_at",
        TIME,
        lambda h: h.state.cancellation and _time(h.state.cancellation.at),
    ),
    _maybe("pause.by", "paused_by", TEXT, lambda h: h.state.pause and h.state.pause.by),
    _maybe("pause.at", "paused_at", TIME, lambda h: h.state.pause and _time(h.state.pause.at)),
    _maybe("resumedFrom", "resumed_from", TEXT, "state.resumed_from"),
    _maybe(
        "forkedFrom.execution",
        "forked_from",
        TEXT,
        lambda h: h.state.forked_from and h.state.forked_from.execution,
    ),
    _maybe(
        "forkedFrom.version",
        "forked_from_version",
        WHOLE,
        lambda h: h.state.forked_from and h.state.forked_from.version,
    ),
    _maybe("metrics.duration", "duration", WHOLE, _duration),
    _maybe("metrics.activeDuration", "active_duration", WHOLE, _active_duration),
    _always("metrics.tokensUsed", "tokens_used", WHOLE, "state.used.tokens_used"),
    _always("metrics.cost", "cost", REAL, lambda h: float(h.state.used.cost)),
    _always("metrics.apiCalls", "api_calls", WHOLE, "state.used.api_calls"),
    _always("metrics.retries", "retries", WHOLE, "state.retries"),
    _always("metrics.stepsCompleted", "steps_completed", WHOLE, "state.steps_completed"),
    _always("metrics.stepsTotal", "steps_total", WHOLE, "state.steps_total"),
    _always("metadata.createdAt", "created_at", TIME, lambda h: _time(h.state.created_at)),
    _always("metadata.updatedAt", "updated_at", TIME, lambda h: _time(h.state.updated_at)),
    _maybe("metadata.startedAt", "started_at", TIME, lambda h: _time(h.state.started_at)),
    _maybe("metadata.completedAt", "completed_at", TIME, lambda h: _time(h.state.completed_at)),
    _maybe("metadata.environment", "environment", TEXT, lambda h: _metadata(h, "environment")),
    _maybe("metadata.version", "metadata_version", TEXT, lambda h: _metadata(h, "version")),
)

FIELDS = {column.field.path: column.field for column in COLUMNS}
INDEXED = (
    "$id",
    "status",
    "service",
    "customer",
    "provider",
    "order",
    "tags",
    "metadata.createdAt",
    "metadata.<free attribute>",
)
"""The indexed fields, as refusals of expensive queries name them."""
LISTED = {"tags": Field("tags", "tags", TAGS)}


def field(path: str) -> Field | None:
    """Return the field of a path in the document; a path below `metadata` may be a free attribute."""
    return _find_field(path) or LISTED.get(ALIASES.get(path, path)) or _attribute(path)


def sortable(path: str) -> Field | None:
    """Return the field of a path if rows can be sorted by it. Free attributes and tags have no column to sort by."""
    return _find_field(path)


def _find_field(path: str) -> Field | None:
    return FIELDS.get(ALIASES.get(path, path)) or FIELDS.get(_unquote(path))


def _unquote(path: str) -> str:
    """Return a path without its quotes; an empty text if a quoted key has a dot, which needs the quotes."""
    keys = [segment.key for segment in segments(path)] if '["' in path else []
    return "" if any("." in key for key in keys) else ".".join(keys)


def _attribute(path: str) -> Field | None:
    parts = segments(path)
    below = parts[1:]
    if parts[:1] != (FieldSegment("metadata"),) or not below:
        return None
    try:
        text(path + "".join(segment.key for segment in below))
    except ValueError:
        return None
    return Field(path, "metadata", ATTRIBUTE, key_paths=readings(below))


VALUES = {column.field.column: column.value for column in COLUMNS}


def value_in(versioned: Versioned[Execution]) -> Callable[[Field], Any]:
    """Return a function that takes the value of a field from a state, as the document shows it; None if it is missing."""

    def value(field: Field) -> Any:
        if field.kind is TAGS:
            return versioned.state.tags
        if field.kind is ATTRIBUTE:
            return _attribute_at(versioned.state.metadata, field.key_paths)
        return VALUES[field.column](versioned)

    return value


def _attribute_at(metadata: dict[str, Any], key_paths: Sequence[Keys]) -> Any:
    found = (_at(metadata, keys) for keys in key_paths)
    return next((value for value in found if value is not None), None)


def _at(found: Any, keys: Keys) -> Any:
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            return None
        found = found[key]
    return found
