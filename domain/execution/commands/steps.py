"""The commands to the steps of an execution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from domain.errors import AlreadyExists, Invalid
from domain.execution.commands.create import check_steps
from domain.execution.commands.progress import record_usage
from domain.execution.events.steps import (
    StepCompleted,
    StepFailed,
    StepsAdded,
    StepSkipped,
    StepStarted,
)
from domain.execution.order_in_time import require_after_step
from domain.execution.parts import Step
from domain.execution.state import Execution
from domain.execution.step_tree import check_parent, check_same_place
from domain.execution.types import (
    MOST_STEPS,
    ExecutionError,
    StepKind,
    StepPlan,
    StepPlans,
    Usage,
    copy_set_fields,
)
from domain.json_equality import same_json
from domain.model import Command, Context, Event
from domain.types import Json, Label, Name, StepAssignee, Text

SETTINGS = ("name", "parent", "kind", "assignee")
"""The members of a step that a command may have besides its content."""


class DeclareSteps(Command[Execution]):
    """Add steps after the existing ones. A step that exists with the same declaration is left as it is.

    Raises:
        AlreadyExists: a step with the same id exists, with another declaration.
    """

    wire_name: ClassVar[str] = "declareSteps"

    steps: Annotated[StepPlans, Field(min_length=1)]

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        check_steps(self.steps, execution.steps)
        new = tuple(plan for plan in self.steps if not _is_declared(execution, plan))
        _check_room(execution, len(new))
        if new:
            yield StepsAdded(steps=new)


class StartStep(Command[Execution]):
    """Start a step: a new one, a declared one, or a failed one again.

    In a later attempt of the execution every step may be started again. `parent` and `kind` are for a new step; those of a
    declared step cannot be changed.
    """

    wire_name: ClassVar[str] = "startStep"

    step: Label
    name: Name | None = None
    parent: Label | None = None
    kind: StepKind | None = None
    assignee: StepAssignee | None = None
    input: Json = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        step = execution.steps.get(self.step)
        if step is None:
            _check_room(execution, 1)
            check_parent("parent", self.step, self.parent, execution.steps)
        elif self._is_repeat(execution, step):
            return
        else:
            check_same_place(step, {"parent": self.parent, "kind": self.kind})
            require_after_step(step, context)
        yield copy_set_fields(self, StepStarted)

    def _is_repeat(self, execution: Execution, step: Step) -> bool:
        this_attempt = step.attempt in (0, len(execution.attempts))
        return this_attempt and execution.check_step_transition(
            self.wire_name, step, equal=self._equals(step)
        )

    def _equals(self, step: Step) -> bool:
        same = (getattr(self, name) in (None, getattr(step, name)) for name in SETTINGS)
        return all(same) and (self.input is None or same_json(self.input, step.input))


class CompleteStep(Command[Execution]):
    """Complete a step."""

    wire_name: ClassVar[str] = "completeStep"

    step: Label
    output: Json = None
    usage: Usage | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        step = execution.step(self.step)
        equal = same_json(self.output, step.output)
        if execution.check_step_transition(self.wire_name, step, equal=equal):
            return
        require_after_step(step, context)
        if self.usage:
            yield from record_usage(execution, self.usage, self.step)
        yield copy_set_fields(self, StepCompleted)


class FailStep(ExecutionError, Command[Execution]):
    """End a step with an error; the execution continues."""

    wire_name: ClassVar[str] = "failStep"

    step: Label

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        step, error = execution.step(self.step), copy_set_fields(self, ExecutionError)
        if not execution.check_step_transition(self.wire_name, step, equal=error.same(step.error)):
            require_after_step(step, context)
            yield StepFailed(step=self.step, error=error)


class SkipStep(Command[Execution]):
    """Skip a step: it will not be done."""

    wire_name: ClassVar[str] = "skipStep"

    step: Label
    reason: Text | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        step = execution.step(self.step)
        if not execution.check_step_transition(
            self.wire_name, step, equal=self.reason == step.reason
        ):
            require_after_step(step, context)
            yield copy_set_fields(self, StepSkipped)


def _is_declared(execution: Execution, plan: StepPlan) -> bool:
    if (step := execution.steps.get(plan.id)) is None:
        return False
    same = all(getattr(step, name) == getattr(plan, name) for name in SETTINGS)
    if not (same and same_json(step.input, plan.input)):
        raise AlreadyExists("There is another step with this id.", step=plan.id)
    return True


def _check_room(execution: Execution, new: int) -> None:
    if len(execution.steps) + new > MOST_STEPS:
        raise Invalid.field(
            "steps",
            f"must not bring the execution above {MOST_STEPS} steps: "
            f"it has {len(execution.steps)}, and {new} would be added",
        )
