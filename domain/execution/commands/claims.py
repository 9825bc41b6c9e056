"""The commands of claims: a worker claims an execution and sends heartbeats; the server releases it, or marks it as stalled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile
from typing import ClassVar, Self

from pydantic import PrivateAttr

from domain.errors import Taken
from domain.execution.commands.lifecycle import end_by_error
from domain.execution.events.claims import (
    ExecutionClaimed,
    ExecutionRecovered,
    ExecutionReleased,
    ExecutionStalled,
)
from domain.execution.events.lifecycle import ExecutionResumed, ExecutionStarted, ExecutionStarting
from domain.execution.order_in_time import require_after_status
from domain.execution.state import DONE, Execution
from domain.execution.types import (
    DEFAULT_LEASE,
    LEASE_LOST,
    MOST_LOST,
    ExecutionError,
    Lease,
    Status,
)
from domain.json_forms import Time
from domain.model import Command, Context, Event, HeartbeatEntry, Recordable
from domain.types import Label, Reference, WorkerName


class ClaimExecution(Command[Execution]):
    """Claim a queued execution, and start it; with `onLeaseLost: resume` after a lost lease from its last checkpoint.

    `lease`: how long the claim lasts without a sign of life; `service`, `assignee`: the service and the id of the assignee that
    the worker requires.

    Raises:
        Taken: the execution is not queued any more, or of another service or assignee.
    """

    wire_name: ClassVar[str] = "claim"

    worker: WorkerName
    service: Reference | None = None
    assignee: Label | None = None
    lease: Lease = DEFAULT_LEASE

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        if execution.status is not Status.QUEUED or not self._accepts(execution):
            raise Taken
        require_after_status(execution, context)
        yield ExecutionClaimed(worker=self.worker, lease=self.lease)
        yield ExecutionStarting()
        resumes = execution.was_claimed and execution.on_lease_lost == "resume"
        if resumes and execution.checkpoints:
            yield ExecutionResumed(checkpoint=execution.checkpoints[-1].id)
        else:
            yield ExecutionStarted()

    def _accepts(self, execution: Execution) -> bool:
        assigned = execution.assignee.id if execution.assignee else None
        return self.service in (None, execution.service) and self.assignee in (None, assigned)


class HeartbeatExecution(Command[Execution]):
    """Report that the work continues. This leads to an event only where the execution was stalled.

    Raises:
        LeaseLost: the named worker does not hold the execution.
    """

    wire_name: ClassVar[str] = "heartbeat"

    worker: WorkerName | None = None
    _at: datetime | None = PrivateAttr(default=None)

    def received_at(self, at: datetime) -> Self:
        """A copy of the command with the time of its arrival, so that the answer can have `leaseUntil`."""
        command = self.model_copy()
        command._at = at  # noqa: SLF001 - its own: the copy is of this class
        return command

    def decide(self, execution: Execution, context: Context) -> Iterator[Recordable]:
        if self.worker is not None:
            execution.require_worker(self.worker)
        execution.require_allowed(self.wire_name)
        yield HeartbeatEntry(self._at or context.now)
        if execution.stalled:
            yield ExecutionRecovered()


class ReleaseExecution(Command[Execution]):
    """Queue an execution again whose lease is over. Only the server sends this.

    An execution that has lost `most_lost` leases in a row, without a new checkpoint or step, may be the cause of the death of
    its workers: its attempt fails, and its retry policy decides. `heard_at`: the time of the last heartbeat, which is not
    part of the state.
    """

    wire_name: ClassVar[str] = "release"

    worker: WorkerName
    heard_at: Time | None = None
    most_lost: int = MOST_LOST

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        until = execution.lease_until(self.heard_at)
        if until is None or until > context.now:
            return
        if execution.claim is None or execution.claim.worker != self.worker:
            return
        if (lost := _count_lost_in_a_row(execution)) < self.most_lost:
            yield ExecutionReleased(worker=self.worker, reason="lease-lost")
            return
        message = f"Workers that claimed it lost {lost} leases in a row, without a new checkpoint or step."
        error = ExecutionError(code=LEASE_LOST, message=message, recoverable=True)
        yield from end_by_error(execution, self.wire_name, error, context)


def _count_lost_in_a_row(execution: Execution) -> int:
    """The number of leases lost in a row, including the present one, since the last checkpoint or completed step, and since the
    last attempt that did not end with a lost lease.
    """
    steps = (step.completed_at for step in execution.steps.values() if step.status in DONE)
    checkpoints = (checkpoint.at for checkpoint in execution.checkpoints[-1:])
    last_progress = max((at for at in (*steps, *checkpoints) if at is not None), default=None)
    *before, present = execution.attempts
    lost = takewhile(lambda attempt: attempt.outcome == "released", reversed(before))
    return sum(
        last_progress is None or attempt.started_at > last_progress for attempt in (present, *lost)
    )


class StallExecution(Command[Execution]):
    """Mark a running execution as stalled that has given no sign of life for too long. Only the server sends this."""

    wire_name: ClassVar[str] = "stall"

    heard_at: Time | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        at = execution.stalls_at(self.heard_at)
        if at is not None and at <= context.now and not execution.stalled:
            yield ExecutionStalled(since=execution.last_sign(self.heard_at))
