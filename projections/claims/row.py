"""The row of an execution in the view of claims, and how events change it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from domain.execution.events.claims import ExecutionClaimed, ExecutionReleased
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
from domain.execution.types import Status
from domain.json_forms import in_milliseconds
from domain.model import Event, Recorded, aggregate_id
from domain.types import Assignee, Priority

STATUSES: dict[type[Event], Status] = {
    ExecutionStarting: Status.STARTING,
    ExecutionStarted: Status.RUNNING,
    ExecutionPaused: Status.PAUSED,
    ExecutionResumed: Status.RUNNING,
    ExecutionFailed: Status.FAILED,
    RetryScheduled: Status.RETRY,
    ExecutionReleased: Status.QUEUED,
}
ENDS = (ExecutionCompleted, ExecutionCancelled)
UNCLAIMED = (ExecutionFailed, ExecutionReleased)
CONCERNED: tuple[type[Event], ...] = (
    ExecutionCreated,
    ExecutionClaimed,
    ExecutionUpdated,
    *STATUSES,
    *ENDS,
)
RANKS = {priority: rank for rank, priority in enumerate(Priority)}
"""The rank of each priority: the more urgent, the higher."""
MILLISECOND = timedelta(milliseconds=1)


class Claimable(NamedTuple):
    """An execution that has not ended for good: a row of `claims`, with its columns in order.

    `created` is the position of its first event, which orders the queue within a rank. `since` is the time of the event
    that gave it its status. `worker` and `lease` are set while it is claimed. `silence` is its `heartbeatTimeout`; both
    are in milliseconds. `due` is the time at which its lease is lost, or it has stalled, if no sign of life follows
    after `since`.
    """

    execution: str
    status: str
    rank: int
    created: int
    service: str
    customer: str
    provider: str
    assignee: str | None
    since: datetime
    worker: str | None
    lease: int | None
    silence: int | None
    due: datetime | None

    def with_due(self) -> Claimable:
        """Return the row with `due` computed from its other fields."""
        allowed = [self.lease] if self.status in {Status.STARTING, Status.RUNNING} else []
        allowed += [self.silence] if self.status == Status.RUNNING else []
        least = min((ms for ms in allowed if ms is not None), default=None)
        return self._replace(due=None if least is None else self.since + least * MILLISECOND)


def after(row: Claimable | None, recorded: Recorded) -> Claimable | None:
    """Return the row after an event of `CONCERNED`; None if the execution has ended for good.

    A failed execution keeps its row, because it may be retried at any time, and the event of the retry has neither its
    parties nor its priority.

    Raises:
        LookupError: the execution has no row.
    """
    event = recorded.event
    if isinstance(event, ExecutionCreated):
        return _on_created(event, recorded)
    if isinstance(event, ENDS):
        return None
    if row is None and isinstance(event, ExecutionUpdated):
        return None  # tags and metadata may be updated after the end
    if row is None:
        raise LookupError(f"{recorded.stream} goes on without a beginning")
    if isinstance(event, ExecutionUpdated):
        return _on_updated(row, event).with_due()
    if isinstance(event, ExecutionClaimed):
        return row._replace(worker=event.worker, lease=in_milliseconds(event.lease))
    row = row._replace(status=STATUSES[type(event)], since=recorded.at)
    if isinstance(event, UNCLAIMED):
        row = row._replace(worker=None, lease=None)
    return row.with_due()


def _on_created(event: ExecutionCreated, recorded: Recorded) -> Claimable:
    silence = event.heartbeat_timeout
    return Claimable(
        aggregate_id(recorded.stream),
        Status.QUEUED,
        RANKS[event.priority],
        recorded.position,
        event.service,
        event.customer,
        event.provider,
        _assignee_id(event.assignee),
        recorded.at,
        None,
        None,
        None if silence is None else in_milliseconds(silence),
        None,
    )


def _on_updated(row: Claimable, event: ExecutionUpdated) -> Claimable:
    given = event.model_fields_set
    if "priority" in given:
        row = row._replace(rank=RANKS[event.priority])
    if "assignee" in given:
        row = row._replace(assignee=_assignee_id(event.assignee))
    if "heartbeat_timeout" in given:
        silence = event.heartbeat_timeout
        row = row._replace(silence=None if silence is None else in_milliseconds(silence))
    return row


def _assignee_id(assignee: Assignee | None) -> str | None:
    return None if assignee is None else assignee.id
