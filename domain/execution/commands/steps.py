"""The commands to the steps of an execution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from domain.errors import AlreadyExists, Invalid
from domain.execution.commands.create import check_steps
from domain.execution.commands.progress import used
from domain.execution.state import Execution, Step
from domain.execution.step_events import (
    StepCompleted,
    StepFailed,
    StepsAdded,
    StepSkipped,
    StepStarted,
)
from domain.execution.types import MOST_STEPS, ExecutionError, StepPlan, StepPlans, Usage, told
from domain.model import Command, Context, Event
from domain.types import Json, Label, Name, StepAssignee, Text


class DeclareSteps(Command[Execution]):
    """Add steps at the end of those there are. One that is there just so already stays as it is.

    Raises:
        AlreadyExists: a step of that id is there, and it is another.
    """

    name: ClassVar[str] = "declareSteps"

    steps: Annotated[StepPlans, Field(min_length=1)]

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.repeats(self.name)
        check_steps(self.steps)
        new = tuple(plan for plan in self.steps if not _declared(execution, plan))
        _check_room(execution, len(new))
        if new:
            yield StepsAdded(steps=new)


class StartStep(Command[Execution]):
    """Begin with a step: a new one, a declared one, or one that failed, once more.

    In a later attempt of the execution every step may be started again.
    """

    name: ClassVar[str] = "startStep"

    step: Label
    called: Name | None = Field(default=None, alias="name")
    assignee: StepAssignee | None = None
    input: Json = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.repeats(self.name)
        step = execution.steps.get(self.step)
        if step is None:
            _check_room(execution, 1)
        elif step.attempt in (0, len(execution.attempts)) and execution.step_repeats(
            self.name, step, equal=self._equals(step)
        ):
            return
        named = {"name": self.called} if self.called else {}
        yield told(self, StepStarted, **named)

    def _equals(self, step: Step) -> bool:
        return (
            self.called in (None, step.name)
            and self.assignee in (None, step.assignee)
            and self.input in (None, step.input)
        )


class CompleteStep(Command[Execution]):
    """End a step that did what it should."""

    name: ClassVar[str] = "completeStep"

    step: Label
    output: Json = None
    usage: Usage | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        step = execution.step(self.step)
        if execution.step_repeats(self.name, step, equal=self.output == step.output):
            return
        if self.usage:
            yield from used(execution, self.usage, self.step)
        yield told(self, StepCompleted)


class FailStep(ExecutionError, Command[Execution]):
    """End a step that did not do what it should; the execution goes on."""

    name: ClassVar[str] = "failStep"

    step: Label

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        step, error = execution.step(self.step), told(self, ExecutionError)
        if not execution.step_repeats(self.name, step, equal=error.same(step.error)):
            yield StepFailed(step=self.step, error=error)


class SkipStep(Command[Execution]):
    """Leave a step out."""

    name: ClassVar[str] = "skipStep"

    step: Label
    reason: Text | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        step = execution.step(self.step)
        if not execution.step_repeats(self.name, step, equal=self.reason == step.reason):
            yield told(self, StepSkipped)


def _declared(execution: Execution, plan: StepPlan) -> bool:
    if (step := execution.steps.get(plan.id)) is None:
        return False
    if (step.name, step.assignee, step.input) != (plan.name, plan.assignee, plan.input):
        raise AlreadyExists("There is another step with this id.", step=plan.id)
    return True


def _check_room(execution: Execution, new: int) -> None:
    if len(execution.steps) + new > MOST_STEPS:
        raise Invalid.field("steps", f"an execution has at most {MOST_STEPS} steps")
