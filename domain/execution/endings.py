"""What the end of an attempt, or of the whole execution, does to its clocks and its steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from domain.execution.parts import Outcome, Step
from domain.execution.state import OPEN, Execution
from domain.execution.types import ExecutionError, Status, StepStatus
from domain.model import Recorded

Steps = dict[str, Step]


def stop_clock(
    state: Execution, status: Status, recorded: Recorded, **changes: object
) -> Execution:
    """The execution in a status in which no working time passes."""
    active = state.worked_until(recorded.when)
    rest = {"pause": None, "active": active, "active_since": None, **changes}
    return state.enter(status, recorded, **rest)


def finish(state: Execution, status: Status, recorded: Recorded, **changes: Any) -> Execution:
    """The execution in a status in which it has ended. Steps that are open are skipped."""
    at = recorded.when
    steps = skip_open(changes.pop("steps", state.steps), at)
    return stop_clock(
        state, status, recorded, steps=steps, completed_at=at, next_retry_at=None, **changes
    )


def attempt_ended(
    state: Execution, at: datetime, outcome: Outcome, error: ExecutionError | None
) -> Execution:
    """The execution with its last attempt ended, where it has one that goes on; no worker holds it."""
    if not state.attempts or state.attempts[-1].outcome:
        return state
    *before, last = state.attempts
    ended = last.evolve(ended_at=at, outcome=outcome, error=error)
    return state.evolve(attempts=(*before, ended), claim=None)


def with_failed(steps: Steps, error: ExecutionError, at: datetime) -> Steps:
    """The steps, of which the one that the error names, if it is open, failed with the attempt."""
    step = steps.get(error.step) if error.step else None
    if step is None or step.status not in OPEN:
        return steps
    ended_at = at if step.started_at else None
    failed = step.evolve(status=StepStatus.FAILED, completed_at=ended_at, error=error)
    return {**steps, step.id: failed}


def skip_open(steps: Steps, at: datetime) -> Steps:
    """The steps, of which those that are open were cut short by an end."""
    return _replace_steps(
        steps, lambda step: step.status in OPEN, lambda step: _cut_short(step, at)
    )


def waiting_again(steps: Steps) -> Steps:
    """The steps, of which those that run are to be done again, as a retry follows at once."""
    return _replace_steps(steps, lambda step: step.status is StepStatus.RUNNING, _pending)


def reopen(steps: Steps) -> Steps:
    """The steps, of which those that an end had cut short are to be done after all."""
    return _replace_steps(steps, lambda step: step.cut_short, _pending)


def _cut_short(step: Step, at: datetime) -> Step:
    ended_at = at if step.started_at else None
    return step.evolve(status=StepStatus.SKIPPED, completed_at=ended_at, cut_short=True)


def _pending(step: Step) -> Step:
    return step.evolve(
        status=StepStatus.PENDING, started_at=None, completed_at=None, cut_short=False
    )


def _replace_steps(
    steps: Steps, which: Callable[[Step], bool], by: Callable[[Step], Step]
) -> Steps:
    if not any(map(which, steps.values())):
        return steps
    return {step.id: by(step) if which(step) else step for step in steps.values()}
