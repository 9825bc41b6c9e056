"""The events of the steps of an execution, and of its usage."""

from __future__ import annotations

from typing import Any, ClassVar

from domain.execution.events.event import ExecutionEvent
from domain.execution.parts import NOTHING, Step
from domain.execution.state import Execution
from domain.execution.types import ExecutionError, StepKind, StepPlan, StepStatus, Usage
from domain.model import Recorded
from domain.sealing import Sealed
from domain.types import StepAssignee


class StepsAdded(ExecutionEvent):
    """Steps were declared; they are added in this order."""

    type: ClassVar[str] = "execution.steps.added"
    steps: tuple[StepPlan, ...]

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        return state.change(recorded, steps=state.steps | steps_of_plans(self.steps))


class StepStarted(ExecutionEvent):
    """Work on a step began; a step that was not declared is added."""

    type: ClassVar[str] = "execution.step.started"
    step: str
    name: str | None = None
    parent: str | None = None
    kind: StepKind | None = None
    assignee: StepAssignee | None = None
    input: Sealed[Any] = None

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        known = state.steps.get(self.step)
        step = known or Step(self.step, self.name or self.step)
        return with_step(
            state,
            recorded,
            step.evolve(
                name=self.name or step.name,
                status=StepStatus.RUNNING,
                parent=self.parent or step.parent,
                kind=self.kind or step.kind,
                assignee=self.assignee or step.assignee,
                input=step.input if self.input is None else self.input,
                output=None,
                error=None,
                reason=None,
                started_at=recorded.when,
                completed_at=None,
                attempt=len(state.attempts),
            ),
        )


class StepCompleted(ExecutionEvent):
    """A step was completed."""

    type: ClassVar[str] = "execution.step.completed"
    step: str
    output: Sealed[Any] = None

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        return _end_step(
            state, recorded, self.step, status=StepStatus.COMPLETED, output=self.output
        )


class StepFailed(ExecutionEvent):
    """A step failed; it may be started again."""

    type: ClassVar[str] = "execution.step.failed"
    step: str
    error: ExecutionError

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        return _end_step(state, recorded, self.step, status=StepStatus.FAILED, error=self.error)


class StepSkipped(ExecutionEvent):
    """A step was skipped: it will not be done."""

    type: ClassVar[str] = "execution.step.skipped"
    step: str
    reason: Sealed[str] | None = None

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        return _end_step(state, recorded, self.step, status=StepStatus.SKIPPED, reason=self.reason)


class UsageRecorded(Usage, ExecutionEvent):
    """Usage was recorded, of the whole execution or of one step."""

    type: ClassVar[str] = "execution.usage"

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        used = state.used.plus(self)
        step = state.steps.get(self.step) if self.step else None
        if step is None:
            return state.change(recorded, used=used)
        step = step.evolve(used=(step.used or NOTHING).plus(self))
        return with_step(state, recorded, step, used=used)


STEP_EVENTS: tuple[type[ExecutionEvent], ...] = (
    StepsAdded,
    StepStarted,
    StepCompleted,
    StepFailed,
    StepSkipped,
    UsageRecorded,
)


def steps_of_plans(plans: tuple[StepPlan, ...]) -> dict[str, Step]:
    """Pending steps by their ids, from declarations."""
    return {
        plan.id: Step.make(
            id=plan.id,
            name=plan.name,
            parent=plan.parent,
            kind=plan.kind,
            assignee=plan.assignee,
            input=plan.input,
        )
        for plan in plans
    }


def with_step(state: Execution, recorded: Recorded, step: Step, **changes: object) -> Execution:
    """The execution with one step replaced, or added."""
    return state.change(recorded, steps={**state.steps, step.id: step}, **changes)


def _end_step(state: Execution, recorded: Recorded, step: str, **changes: object) -> Execution:
    ended = state.steps[step].evolve(completed_at=recorded.when, **changes)
    return with_step(state, recorded, ended)
