"""A workflow: the usual steps of a service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from domain.errors import Invalid
from domain.model import (
    Aggregate,
    Command,
    Context,
    Creation,
    Event,
    Recorded,
    Value,
    aggregate_id,
)
from domain.types import Label, Name, StepAssignee


class WorkflowStep(Value):
    """One step of a workflow."""

    id: Label
    name: Name
    assignee: StepAssignee | None = None


@dataclass(frozen=True)
class Workflow(Aggregate):
    """A workflow: its steps in their order."""

    name: str
    steps: tuple[WorkflowStep, ...]


class WorkflowCreated(Event):
    """A workflow was created."""

    type: ClassVar[str] = "workflow.created"
    name: str
    steps: tuple[WorkflowStep, ...]

    def apply(self, state: None, recorded: Recorded) -> Workflow:
        return Workflow(aggregate_id(recorded.stream), self.name, self.steps)


class CreateWorkflow(Creation[Workflow]):
    """Create a workflow.

    Raises:
        Invalid: two of its steps have the same id.
    """

    wire_name: ClassVar[str] = "createWorkflow"

    name: Name
    steps: Annotated[tuple[WorkflowStep, ...], Field(max_length=10_000)]

    def create(self, context: Context) -> Iterator[Event]:
        seen = set[str]()
        for index, step in enumerate(self.steps):
            if step.id in seen:
                raise Invalid.field(
                    f"steps.{index}.id", f"must be given once, but `{step.id}` is given twice"
                )
            seen.add(step.id)
        yield WorkflowCreated(name=self.name, steps=self.steps)


EVENTS: tuple[type[Event], ...] = (WorkflowCreated,)
COMMANDS: dict[str, type[Command[Workflow]]] = {CreateWorkflow.wire_name: CreateWorkflow}
