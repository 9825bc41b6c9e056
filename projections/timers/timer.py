"""The next due time of an execution, and how events change it."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

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
from domain.execution.events.progress import CheckpointSaved
from domain.execution.parts import NO_TIME
from domain.execution.state import CHECKPOINT_LATE, checkpoint_due
from domain.execution.types import Status
from domain.json_forms import in_milliseconds
from domain.model import Event, Recorded, aggregate_id

CONCERNED: tuple[type[Event], ...] = (
    ExecutionCreated,
    ExecutionStarting,
    ExecutionStarted,
    ExecutionPaused,
    ExecutionResumed,
    CheckpointSaved,
    ExecutionFailed,
    RetryScheduled,
    ExecutionReleased,
    ExecutionUpdated,
    ExecutionCompleted,
    ExecutionCancelled,
)
"""The events that move a timer; most events of a log do not."""
MILLISECOND = timedelta(milliseconds=1)


class Timer(NamedTuple):
    """The clocks of one execution; a row of `timers`, in its order.

    `timeout` and `worked`, the working time of this attempt up to `active_since`, are milliseconds.
    `active_since` is set while it works, `retry_at` while it waits for a retry. `due` is when the first
    of retry, timeout and checkpoint is due; None where nothing is.
    """

    execution: str
    status: str
    timeout: int | None
    worked: int
    active_since: datetime | None
    checkpoint_at: datetime | None
    retry_at: datetime | None
    due: datetime | None

    @property
    def times_out_at(self) -> datetime | None:
        """When this attempt will have worked for too long."""
        if self.active_since is None or self.timeout is None:
            return None
        return self.active_since + (self.timeout - self.worked) * MILLISECOND

    @property
    def checkpoint_due(self) -> datetime | None:
        """When it will have run for 15 minutes since its last checkpoint."""
        if self.status != Status.RUNNING or self.active_since is None:
            return None
        return checkpoint_due(self.active_since, self.checkpoint_at)

    def next(self, now: datetime) -> tuple[str, datetime] | None:
        """What comes first, and when: a retry, a timeout or a checkpoint. One that is very late comes no more."""
        checkpoint = self.checkpoint_due
        if checkpoint is not None and checkpoint < now - CHECKPOINT_LATE:
            checkpoint = None
        candidates = {
            "retry": self.retry_at,
            "timeout": self.times_out_at,
            "checkpoint": checkpoint,
        }
        known = [(name, at) for name, at in candidates.items() if at is not None]
        return min(known, key=itemgetter(1), default=None)

    def with_due(self) -> Timer:
        """The same, with `due` as the rest of it says."""
        candidates = (self.retry_at, self.times_out_at, self.checkpoint_due)
        return self._replace(due=min(filter(None, candidates), default=None))


def after(timer: Timer | None, recorded: Recorded) -> Timer | None:
    """The timer after an event that is `CONCERNED`; None where the execution has ended for good. One that has failed
    has not: it may be tried again at any time, and that event does not say what its timeout is.

    Raises:
        LookupError: the execution is not known.
    """
    event = recorded.event
    if isinstance(event, ExecutionCreated):
        return Timer(
            aggregate_id(recorded.stream),
            Status.QUEUED,
            _milliseconds(event.timeout),
            0,
            None,
            None,
            None,
            None,
        )
    if isinstance(event, ExecutionCompleted | ExecutionCancelled):
        return None
    if timer is None and isinstance(event, ExecutionUpdated):
        return None  # tags and metadata may change after the end, too
    if timer is None:
        raise LookupError(f"{recorded.stream} goes on without a beginning")
    return _apply(timer, event, recorded.when).with_due()


def _apply(timer: Timer, event: Event, when: datetime) -> Timer:
    match event:
        case ExecutionStarting():
            timer = timer._replace(
                status=Status.STARTING, worked=0, active_since=when, retry_at=None
            )
        case ExecutionStarted():
            timer = timer._replace(status=Status.RUNNING)
        case ExecutionPaused():
            timer = _stop(timer, Status.PAUSED, when)
        case ExecutionResumed():
            timer = timer._replace(status=Status.RUNNING, active_since=when)
        case CheckpointSaved():
            timer = timer._replace(checkpoint_at=when)
        case ExecutionFailed():
            timer = _stop(timer, Status.FAILED, when)._replace(retry_at=None)
        case ExecutionReleased():
            timer = _stop(timer, Status.QUEUED, when)._replace(retry_at=None)
        case RetryScheduled():
            timer = timer._replace(status=Status.RETRY, retry_at=event.next_retry_at)
        case ExecutionUpdated() if "timeout" in event.model_fields_set:
            timer = timer._replace(timeout=_milliseconds(event.timeout))
    return timer


def _stop(timer: Timer, status: Status, when: datetime) -> Timer:
    """In a status in which no working time passes."""
    worked = timer.worked
    if timer.active_since is not None:
        worked += in_milliseconds(max(when - timer.active_since, NO_TIME))
    return timer._replace(status=status, worked=worked, active_since=None)


def _milliseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else in_milliseconds(duration)
