"""The parts of an execution: steps, checkpoints, attempts, and the usage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, Self

from domain.execution.types import ExecutionError, StepKind, StepStatus, Usage
from domain.model import State
from domain.sealing import Sealed
from domain.types import EXACT, Percent, StepAssignee

NO_TIME = timedelta()
ELSEWHERE = -1
"""The `attempt` of a step of a fork that was last started in the execution from which the fork was made."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of the recorded usage."""

    tokens_used: int = 0
    cost: Decimal = Decimal(0)
    api_calls: int = 0

    def plus(self, usage: Usage) -> Totals:
        """The totals with further usage added."""
        return Totals(
            self.tokens_used + usage.tokens_used,
            EXACT.add(self.cost, usage.cost),
            self.api_calls + usage.api_calls,
        )


NOTHING = Totals()

CACHED_JSON = "_json"
"""The attribute in which the JSON of a step is cached; attributes with `_` are neither compared nor stored."""


@dataclass(frozen=True)
class Step(State):
    """A step of the work.

    `attempt`: the number of the attempt that started it last, or `ELSEWHERE`; `parent`: the id of the step of which it is a
    part; `cut_short`: it is skipped only because the execution ended while it was open.
    """

    id: str
    name: str
    status: StepStatus = StepStatus.PENDING
    parent: str | None = None
    kind: StepKind | None = None
    assignee: StepAssignee | None = None
    input: Sealed[Any] = None
    output: Sealed[Any] = None
    error: ExecutionError | None = None
    reason: Sealed[str] | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    attempt: int = 0
    used: Totals | None = None
    cut_short: bool = False

    def evolve(self, **changes: object) -> Self:
        """A copy of the step with `changes`, without its cached JSON."""
        new = super().evolve(**changes)
        new.__dict__.pop(CACHED_JSON, None)
        return new


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state of the work, from which it can be resumed."""

    id: str
    at: datetime
    state: Sealed[dict[str, Any]]
    step: str
    progress: Percent


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Who cancelled the execution or the order, when, and why."""

    by: str
    at: datetime
    reason: Sealed[str] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused the execution, when, and why."""

    by: str
    at: datetime
    reason: Sealed[str] | None = None


@dataclass(frozen=True, slots=True)
class Erasure:
    """Who erased the content of the execution or the order, when, and why."""

    by: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The worker that holds the execution, and the lease: for how long it does after each sign of life."""

    worker: str
    lease: timedelta


Outcome = Literal["completed", "failed", "cancelled", "released"]


@dataclass(frozen=True)
class Attempt(State):
    """One try of the execution.

    `delay`: the wait before the next attempt; `active_before`: the working time before this one; `worker`: the worker that
    had claimed it.
    """

    number: int
    started_at: datetime
    active_before: timedelta = NO_TIME
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    error: ExecutionError | None = None
    delay: timedelta | None = None
    worker: str | None = None
