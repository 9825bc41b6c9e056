"""The timer of an execution, and how events change it."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import itemgetter
from typing import Literal, NamedTuple

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
"""The events that change a timer. Most events of a log do not."""
MILLISECOND = timedelta(milliseconds=1)
Kind = Literal["retry", "timeout", "checkpoint"]


class Timer(NamedTuple):
    """The times that matter for one execution: a row of `timers`, with its columns in order.

    `timeout` and `worked` are in milliseconds; `worked` is the working time of the current attempt up to `active_since`.
    `active_since` is set while the execution works, `retry_at` while it waits for a retry. `due` is the time of its retry or of
    its timeout, `checkpoint_due` that of its next automatic checkpoint, which is due while the execution is running.
    """

    execution: str
    status: str
    timeout: int | None
    worked: int
    active_since: datetime | None
    checkpoint_at: datetime | None
    retry_at: datetime | None
    due: datetime | None
    checkpoint_due: datetime | None

    @property
    def times_out_at(self) -> datetime | None:
        """The time at which the current attempt exceeds its timeout; None without one, or while no time is counted."""
        if self.active_since is None or self.timeout is None:
            return None
        return self.active_since + (self.timeout - self.worked) * MILLISECOND

    def next(self, now: datetime) -> tuple[Kind, datetime] | None:
        """Return the name and time of the earliest of retry, timeout and checkpoint. A checkpoint that is later than
        `CHECKPOINT_LATE` is left out, because it is not saved any more.
        """
        checkpoint = self.checkpoint_due
        if checkpoint is not None and checkpoint < now - CHECKPOINT_LATE:
            checkpoint = None
        candidates: dict[Kind, datetime | None] = {
            "retry": self.retry_at,
            "timeout": self.times_out_at,
            "checkpoint": checkpoint,
        }
        known = [(kind, at) for kind, at in candidates.items() if at is not None]
        return min(known, key=itemgetter(1), default=None)

    def with_due(self) -> Timer:
        """Return the timer with its due times computed from its other fields."""
        checkpoint = None
        if self.status == Status.RUNNING and self.active_since is not None:
            checkpoint = checkpoint_due(self.active_since, self.checkpoint_at)
        return self._replace(due=self.retry_at or self.times_out_at, checkpoint_due=checkpoint)


def after(timer: Timer | None, recorded: Recorded) -> Timer | None:
    """Return the timer after an event of `CONCERNED`; None if the execution has ended for good.

    A failed execution keeps its timer, because it may be retried at any time, and the event of the retry does not have
    the timeout.

    Raises:
        LookupError: the execution has no timer.
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
            None,
        )
    if isinstance(event, ExecutionCompleted | ExecutionCancelled):
        return None
    if timer is None and isinstance(event, ExecutionUpdated):
        return None  # tags and metadata may be updated after the end
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
    """Return the timer in a status in which no working time is counted."""
    worked = timer.worked
    if timer.active_since is not None:
        worked += in_milliseconds(max(when - timer.active_since, NO_TIME))
    return timer._replace(status=status, worked=worked, active_since=None)


def _milliseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else in_milliseconds(duration)
