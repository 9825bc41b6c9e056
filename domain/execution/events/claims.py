"""The events of claims: an execution is claimed by a worker, released, stalled, and recovered."""

from __future__ import annotations

from typing import ClassVar, Literal

from domain.execution import endings
from domain.execution.events.event import ExecutionEvent
from domain.execution.parts import Claim
from domain.execution.state import Execution
from domain.execution.types import Lease, Status
from domain.json_forms import Time
from domain.model import Recorded


class ExecutionClaimed(ExecutionEvent):
    """A worker claimed the execution. Each sign of life extends the claim to `lease` milliseconds from then."""

    type: ClassVar[str] = "execution.claimed"
    worker: str
    lease: Lease

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        return state.change(recorded, claim=Claim(self.worker, self.lease))


class ExecutionReleased(ExecutionEvent):
    """The execution is queued again, for any worker: its lease was lost, or its retry is due after an attempt under a claim."""

    type: ClassVar[str] = "execution.released"
    worker: str
    reason: Literal["lease-lost", "retry"]

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        ended = endings.attempt_ended(state, recorded.when, "released", None)
        return endings.stop_clock(
            ended,
            Status.QUEUED,
            recorded,
            next_retry_at=None,
            steps=endings.waiting_again(ended.steps),
        )


class ExecutionStalled(ExecutionEvent):
    """The execution is running, but has given no sign of life since a time, for longer than its `heartbeatTimeout`."""

    type: ClassVar[str] = "execution.stalled"
    since: Time

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        return state.change_silently(recorded, stalled=True)


class ExecutionRecovered(ExecutionEvent):
    """A stalled execution got a heartbeat. Other heartbeats are no events."""

    type: ClassVar[str] = "execution.recovered"

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        return state.change(recorded)


CLAIM_EVENTS: tuple[type[ExecutionEvent], ...] = (
    ExecutionClaimed,
    ExecutionReleased,
    ExecutionStalled,
    ExecutionRecovered,
)
