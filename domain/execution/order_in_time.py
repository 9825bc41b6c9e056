"""Checks the `occurredAt` of commands: what a command ends must not have begun later."""

from __future__ import annotations

from datetime import datetime

from domain.errors import Invalid
from domain.execution.parts import Step
from domain.execution.state import Execution
from domain.execution.types import StepStatus
from domain.json_forms import format_time
from domain.model import Context


def require_after_status(execution: Execution, context: Context) -> None:
    """Check that the present status of the execution does not end before it began. Raises Invalid."""
    require_not_before(context, execution.since, f"when the execution became `{execution.status}`")


def require_after_steps(execution: Execution, context: Context) -> None:
    """Check that neither the present status nor a running step ends before it began. Raises Invalid."""
    require_after_status(execution, context)
    if context.when < context.now:
        for step in execution.steps.values():
            if step.status is StepStatus.RUNNING:
                require_after_step(step, context)


def require_after_step(step: Step, context: Context) -> None:
    """Check that the present status of a step does not end before it began. Raises Invalid."""
    began = step.completed_at or step.started_at
    if began is not None:
        require_not_before(context, began, f"when the step `{step.id}` became `{step.status}`")


def require_not_before(context: Context, earliest: datetime, what: str) -> None:
    """Check the `occurredAt` of a command; `what` ends the text of the error.

    Raises:
        Invalid: it is earlier than `earliest`.
    """
    # Clients get times in milliseconds.
    earliest = earliest.replace(microsecond=earliest.microsecond // 1000 * 1000)
    if context.when < earliest:
        given = format_time(context.when)
        message = f"must not be before {format_time(earliest)}, {what}, but is {given}"
        raise Invalid.field("occurredAt", message)
