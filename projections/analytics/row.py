"""The fact of an execution: the row that analytics keeps of it, and how events change that row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from domain.execution.events.claims import ExecutionReleased
from domain.execution.events.creation import ExecutionCreated, ExecutionUpdated
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionStarting,
    RetryScheduled,
)
from domain.execution.events.steps import UsageRecorded
from domain.execution.types import Status
from domain.json_forms import in_milliseconds
from domain.model import Event, Recorded
from domain.types import EXACT

NONE = ""


class Fact(NamedTuple):
    """The row of one execution in `analytics_facts`. `created`, the position of its first event, is its key."""

    created: int
    order: str
    service: str
    customer: str
    provider: str
    assignee: str
    assignee_type: str
    model: str
    day: str
    status: str
    error_code: str
    success: bool | None
    created_at: datetime
    started_at: datetime | None
    duration: int | None
    cost: Decimal
    tokens: Decimal
    api_calls: Decimal


def after(fact: Fact | None, recorded: Recorded) -> Fact:
    """Return the fact after an event of `COUNTED`.

    Raises:
        LookupError: the execution has no fact.
    """
    event = recorded.event
    if isinstance(event, ExecutionCreated):
        return _create(event, recorded)
    if fact is None:
        raise LookupError(f"{recorded.stream} goes on without a beginning")
    change = CHANGES.get(type(event))
    return fact if change is None else change(fact, event, recorded)


MOVED: dict[type[Event], Status] = {
    ExecutionStarting: Status.STARTING,
    ExecutionPaused: Status.PAUSED,
    ExecutionResumed: Status.RUNNING,
    RetryScheduled: Status.RETRY,
    ExecutionReleased: Status.QUEUED,
}
COUNTED: tuple[type[Event], ...] = (
    *MOVED,
    ExecutionCreated,
    ExecutionStarted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionCancelled,
    ExecutionUpdated,
    UsageRecorded,
)
"""The events that change a fact. Most events of a log do not."""


def _create(event: ExecutionCreated, recorded: Recorded) -> Fact:
    return Fact(
        recorded.position,
        event.order,
        event.service,
        event.customer,
        event.provider,
        *_assignee(event),
        recorded.when.date().isoformat(),
        Status.QUEUED,
        NONE,
        None,
        recorded.when,
        None,
        None,
        Decimal(0),
        Decimal(0),
        Decimal(0),
    )


def _assignee(event: ExecutionCreated | ExecutionUpdated) -> tuple[str, str, str]:
    """Return the id, type and model of the assignee; empty texts for what is missing."""
    if event.assignee is None:
        return NONE, NONE, NONE
    return event.assignee.id, event.assignee.type, event.assignee.model or NONE


def _update(fact: Fact, event: ExecutionUpdated, _: Recorded) -> Fact:
    if "assignee" not in event.model_fields_set:
        return fact
    assignee, type_, model = _assignee(event)
    return fact._replace(assignee=assignee, assignee_type=type_, model=model)


def _add_usage(fact: Fact, usage: UsageRecorded, _: Recorded) -> Fact:
    return fact._replace(
        cost=EXACT.add(fact.cost, usage.cost),
        tokens=fact.tokens + usage.tokens_used,
        api_calls=fact.api_calls + usage.api_calls,
    )


def _start(fact: Fact, _: ExecutionStarted, recorded: Recorded) -> Fact:
    return _move(fact, Status.RUNNING, started_at=fact.started_at or recorded.when)


def _complete(fact: Fact, event: ExecutionCompleted, recorded: Recorded) -> Fact:
    return _end(fact, Status.COMPLETED, recorded, success=event.success)


def _fail(fact: Fact, event: ExecutionFailed, recorded: Recorded) -> Fact:
    if event.final:
        return _end(fact, Status.FAILED, recorded, error_code=event.error.code)
    return _move(fact, Status.FAILED, error_code=event.error.code)


def _cancel(fact: Fact, _: ExecutionCancelled, recorded: Recorded) -> Fact:
    return _end(fact, Status.CANCELLED, recorded)


def _change_status(fact: Fact, event: Event, _: Recorded) -> Fact:
    return _move(fact, MOVED[type(event)])


def _end(fact: Fact, status: Status, recorded: Recorded, **changes: Any) -> Fact:
    started = fact.started_at
    duration = None if started is None else max(in_milliseconds(recorded.when - started), 0)
    return _move(fact, status, duration=duration, **changes)


def _move(
    fact: Fact,
    status: Status,
    error_code: str = NONE,
    success: bool | None = None,
    duration: int | None = None,
    **changes: Any,
) -> Fact:
    return fact._replace(
        status=status, error_code=error_code, success=success, duration=duration, **changes
    )


CHANGES: dict[type[Event], Callable[[Fact, Any, Recorded], Fact]] = {
    **dict.fromkeys(MOVED, _change_status),
    ExecutionStarted: _start,
    ExecutionCompleted: _complete,
    ExecutionFailed: _fail,
    ExecutionCancelled: _cancel,
    ExecutionUpdated: _update,
    UsageRecorded: _add_usage,
}
"""The function that returns the fact after an event of each type."""
