"""When a client may say that something happened: never before the start of what it ends."""

from __future__ import annotations

from datetime import datetime

from domain.errors import Invalid
from domain.execution.parts import Step
from domain.execution.state import Execution
from domain.execution.types import StepStatus
from domain.json_forms import format_time
from domain.model import Context


def require_after_status(execution: Execution, context: Context) -> None:
    """Raise `Invalid` where the present status would end before it began."""
    require_not_before(context, execution.since, f"when the execution became `{execution.status}`")


def require_after_steps(execution: Execution, context: Context) -> None:
    """Raise `Invalid` where a running step would end before it began, or the present status would."""
    require_after_status(execution, context)
    if context.when < context.now:
        for step in execution.steps.values():
            if step.status is StepStatus.RUNNING:
                require_after_step(step, context)


def require_after_step(step: Step, context: Context) -> None:
    """Raise `Invalid` where the present status of a step would end before it began."""
    began = step.completed_at or step.started_at
    if began is not None:
        require_not_before(context, began, f"when the step `{step.id}` became `{step.status}`")


def require_not_before(context: Context, earliest: datetime, what: str) -> None:
    """Raise `Invalid` where a command says that it happened earlier; `what` ends the sentence that says so."""
    # Clients know times to the millisecond.
    earliest = earliest.replace(microsecond=earliest.microsecond // 1000 * 1000)
    if context.when < earliest:
        given = format_time(context.when)
        message = f"must not be before {format_time(earliest)}, {what}, but is {given}"
        raise Invalid.field("occurredAt", message)
