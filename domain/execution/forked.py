"""The steps and checkpoints that a fork takes over from its source, as its first event has them."""

from __future__ import annotations

from typing import Any, Literal

from domain.execution.parts import ELSEWHERE, Checkpoint, Step
from domain.execution.state import Execution
from domain.execution.types import ExecutionError, StepPlan, StepStatus
from domain.json_forms import Time
from domain.model import Value
from domain.sealing import Sealed

CarriedStatus = Literal[StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED]


class CarriedStep(Value):
    """The result of a step in the execution from which a fork was made."""

    step: str
    status: CarriedStatus
    started_at: Time | None = None
    completed_at: Time | None = None
    output: Sealed[Any] = None
    error: ExecutionError | None = None
    reason: Sealed[str] | None = None

    def onto(self, step: Step) -> Step:
        """The step of the fork with this result; it may be started again."""
        return step.evolve(
            status=self.status,
            started_at=self.started_at,
            completed_at=self.completed_at,
            output=self.output,
            error=self.error,
            reason=self.reason,
            attempt=ELSEWHERE,
        )


class CarriedCheckpoint(Value):
    """A checkpoint that was saved in the execution from which a fork was made."""

    checkpoint: str
    at: Time
    state: Sealed[dict[str, Any]]
    step: str = ""
    progress: float = 0

    def checkpoint_of(self) -> Checkpoint:
        """The checkpoint of the fork."""
        return Checkpoint(self.checkpoint, self.at, self.state, self.step, self.progress)


def plan_of(step: Step) -> StepPlan:
    """The declaration of a step."""
    members = {
        "parent": step.parent,
        "kind": step.kind,
        "assignee": step.assignee,
        "input": step.input,
    }
    return StepPlan(id=step.id, name=step.name, **_without_nulls(members))


def carry_steps(execution: Execution) -> tuple[CarriedStep, ...]:
    """The results of the closed steps, without those that the end of the execution has cut short."""
    closed = (StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED)
    steps = execution.steps.values()
    return tuple(_carry(step) for step in steps if step.status in closed and not step.cut_short)


def carry_checkpoints(execution: Execution) -> tuple[CarriedCheckpoint, ...]:
    """All checkpoints of an execution."""
    return tuple(
        CarriedCheckpoint(
            checkpoint=each.id, at=each.at, state=each.state, step=each.step, progress=each.progress
        )
        for each in execution.checkpoints
    )


def _carry(step: Step) -> CarriedStep:
    members = {
        "started_at": step.started_at,
        "completed_at": step.completed_at,
        "output": step.output,
        "error": step.error,
        "reason": step.reason,
    }
    return CarriedStep(step=step.id, status=step.status, **_without_nulls(members))  # type: ignore[arg-type]  # closed: the caller saw to it


def _without_nulls(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
