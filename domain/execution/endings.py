"""The changes of a state by the end of an attempt or of the execution: its working time, attempts and steps."""

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
    """The execution in a status in which no working time is counted."""
    active = state.worked_until(recorded.when)
    rest = {"pause": None, "active": active, "active_since": None, **changes}
    return state.enter(status, recorded, **rest)


def finish(state: Execution, status: Status, recorded: Recorded, **changes: Any) -> Execution:
    """The execution in a final status. Its open steps are skipped."""
    at = recorded.when
    steps = skip_open(changes.pop("steps", state.steps), at)
    return stop_clock(
        state, status, recorded, steps=steps, completed_at=at, next_retry_at=None, **changes
    )


def attempt_ended(
    state: Execution, at: datetime, outcome: Outcome, error: ExecutionError | None
) -> Execution:
    """The execution with its last attempt ended, if that had not ended, and without a claim."""
    if not state.attempts or state.attempts[-1].outcome:
        return state
    *before, last = state.attempts
    ended = last.evolve(ended_at=at, outcome=outcome, error=error)
    return state.evolve(attempts=(*before, ended), claim=None)


def with_failed(steps: Steps, error: ExecutionError, at: datetime) -> Steps:
    """The steps, with the step that the error names failed, if it is open."""
    step = steps.get(error.step) if error.step else None
    if step is None or step.status not in OPEN:
        return steps
    ended_at = at if step.started_at else None
    failed = step.evolve(status=StepStatus.FAILED, completed_at=ended_at, error=error)
    return {**steps, step.id: failed}


def skip_open(steps: Steps, at: datetime) -> Steps:
    """The steps, with the open ones skipped and marked as `cut_short`."""
    return _replace_steps(
        steps, lambda step: step.status in OPEN, lambda step: _cut_short(step, at)
    )


def waiting_again(steps: Steps) -> Steps:
    """The steps, with the running ones pending again, as a retry follows."""
    return _replace_steps(steps, lambda step: step.status is StepStatus.RUNNING, _pending)


def reopen(steps: Steps) -> Steps:
    """The steps, with those that the end of the execution had cut short pending again."""
    return _replace_steps(steps, lambda step: step.cut_short, _pending)


def _cut_short(step: Step, at: datetime) -> Step:
    ended_at = at if step.started_at else None
    return step.evolve(status=StepStatus.SKIPPED, completed_at=ended_at, cut_short=True)


def _pending(step: Step) -> Step:
    return step.evolve(
        status=StepStatus.PENDING, started_at=None, completed_at=None, cut_short=False
    )


def _replace_steps(
    steps: Steps, condition: Callable[[Step], bool], replace: Callable[[Step], Step]
) -> Steps:
    if not any(map(condition, steps.values())):
        return steps
    return {step.id: replace(step) if condition(step) else step for step in steps.values()}
