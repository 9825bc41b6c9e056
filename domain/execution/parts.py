"""What an execution is made of: steps, checkpoints, attempts, and what was used up."""

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


@dataclass(frozen=True, slots=True)
class Totals:
    """What was used up so far."""

    tokens_used: int = 0
    cost: Decimal = Decimal(0)
    api_calls: int = 0

    def plus(self, usage: Usage) -> Totals:
        """The totals after some more was used."""
        return Totals(
            self.tokens_used + usage.tokens_used,
            EXACT.add(self.cost, usage.cost),
            self.api_calls + usage.api_calls,
        )


NOTHING = Totals()


CACHED_JSON = "_json"
"""Where a step may keep its JSON; what begins with `_` is neither compared nor stored."""


@dataclass(frozen=True)
class Step(State):
    """One piece of the work. `attempt` is the attempt that started it last, `ELSEWHERE` if that was
    one of the execution that this one was forked from; `parent` is the id of the step it is part of;
    `cut_short` says that it was open when the execution ended, and is skipped for that alone.
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
        """As `State.evolve`, without what was kept of the step as it was shown."""
        new = super().evolve(**changes)
        new.__dict__.pop(CACHED_JSON, None)
        return new


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place to go on from."""

    id: str
    at: datetime
    state: Sealed[dict[str, Any]]
    step: str
    progress: Percent


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Who ended it, when, and why."""

    by: str
    at: datetime
    reason: Sealed[str] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Who stopped it for a while, when, and why."""

    by: str
    at: datetime
    reason: Sealed[str] | None = None


@dataclass(frozen=True, slots=True)
class Erasure:
    """Who had its content erased, when, and why."""

    by: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Which worker holds the execution, and for how long each sign of life keeps it."""

    worker: str
    lease: timedelta


Outcome = Literal["completed", "failed", "cancelled", "released"]


@dataclass(frozen=True)
class Attempt(State):
    """One try. `delay` is the wait before the next one, `active_before` the work before this one,
    `worker` the one that had claimed it.
    """

    number: int
    started_at: datetime
    active_before: timedelta = NO_TIME
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    error: ExecutionError | None = None
    delay: timedelta | None = None
    worker: str | None = None
