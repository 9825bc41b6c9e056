"""A log line as it is stored and as clients see it, and the lines that the server derives from events (notes)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

import orjson

from domain.eventlog.encryption import DataKey, usable
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    RetryScheduled,
)
from domain.execution.types import LogLevel
from domain.json_forms import format_time
from domain.model import Event, Recorded
from domain.sealing import Ciphertext

OF_SERVER, OF_CLIENT = 0, 1
"""The origin of a line: the server derived it from an event, or a worker sent it."""
NOTED_EVENTS = (
    ExecutionFailed.type,
    RetryScheduled.type,
    ExecutionCompleted.type,
    ExecutionCancelled.type,
)


class StoredLine(NamedTuple):
    """A line as it is stored. `said` is the part of the message that is not sealed, `sealed` the token of the rest.

    `at` is the time of the recording. The `id` of a line of the server is the position of the event.
    """

    occurred_at: datetime
    origin: int
    id: int
    at: datetime
    level: str
    step: str | None
    said: str | None
    sealed: str | None


class LineSortKey(NamedTuple):
    """The sort values of a line among the lines of its execution, which are ordered by time."""

    at: datetime
    origin: int
    id: int

    @classmethod
    def of(cls, line: StoredLine) -> Self:
        """Return the sort values of a line."""
        return cls(line.occurred_at, line.origin, line.id)


class LogFilter(NamedTuple):
    """A filter for lines. `since` is inclusive, `until` exclusive; `text` must occur in the message."""

    level: Sequence[LogLevel] = ()
    step: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


def filter_sql(only: LogFilter) -> tuple[list[str], list[Any]]:
    """Return the SQL conditions of a filter, and their values in order. `text` is left out: messages are sealed in SQL."""
    parts: list[str] = []
    values: list[Any] = []
    limits = (
        ("level = ANY(%s)", list(only.level) or None),
        ("step = %s", only.step),
        ("occurred_at >= %s", only.since),
        ("occurred_at < %s", only.until),
    )
    for condition, value in limits:
        if value is not None:
            parts.append(condition)
            values.append(value)
    return parts, values


def line_document(line: StoredLine, key: DataKey | None) -> dict[str, Any]:
    """Return a line as clients see it; its content is null if the key was destroyed, or key or content are damaged."""
    found: dict[str, Any] = {
        "timestamp": format_time(line.occurred_at),
        "recordedAt": format_time(line.at),
        "level": line.level,
    }
    found |= _content(line, key)
    if line.step is not None:
        found["step"] = line.step
    return found


def _content(line: StoredLine, key: DataKey | None) -> dict[str, Any]:
    if line.sealed is None:
        return {"message": line.said}
    if (key := usable(key)) is None:
        return {"message": None, "erased": True}
    if (opened := key.open_or_report(line.sealed)) is None:
        return {"message": None, "unreadable": True}
    content = orjson.loads(opened)
    if line.origin == OF_SERVER:
        return {"message": f"{line.said}{content}"}
    context = {} if content["context"] is None else {"context": content["context"]}
    return {"message": content["message"], **context}


def note_of(recorded: Recorded) -> StoredLine:
    """Return the line that the server derives from an event of `NOTED_EVENTS`, whose sealed fields are `Ciphertext`."""
    level, step, said, token = _note(recorded.event)
    return StoredLine(
        recorded.when, OF_SERVER, recorded.position, recorded.at, level, step, said, token
    )


def _note(event: Event) -> tuple[LogLevel, str | None, str, str | None]:
    """Return the level, the step, the part of the message that is not sealed, and the token of the rest."""
    match event:
        case ExecutionFailed(error=error):
            return "error", error.step or None, f"{error.code}: ", _token(error.message)
        case RetryScheduled():
            return "warn", None, f"Retrying after {_seconds(event.delay)} ({_retry(event)})", None
        case ExecutionCancelled(reason=None):
            return "warn", None, "Request cancelled", None
        case ExecutionCancelled():
            return "warn", None, "Request cancelled: ", _token(event.reason)
        case ExecutionCompleted(success=False):
            return "info", None, "Request completed without success", None
    return "info", None, "Request completed", None


def _retry(event: RetryScheduled) -> str:
    """Return the number of a retry of the policy; a retry beyond the policy was requested, so it is `manual`."""
    if event.max_retries is None or event.retry > event.max_retries:
        return "manual"
    return f"attempt {event.retry}/{event.max_retries}"


def _token(content: object) -> str:
    assert isinstance(content, Ciphertext)  # views get events with their fields sealed
    return content.token


def _seconds(delay: timedelta) -> str:
    return f"{delay.total_seconds():.3f}".rstrip("0").rstrip(".") + "s"
