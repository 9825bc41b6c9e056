"""Decides whether an execution was written by this import, and from which version to continue."""

from typing import Any, NamedTuple

import orjson

from api.interop.xes.client import JSON, ServiceClient
from api.interop.xes.plan import CREATED, Plan

# The type of the event that each command makes.
EVENTS = {
    "declareSteps": "execution.steps.added",
    "startStep": "execution.step.started",
    "completeStep": "execution.step.completed",
    "failStep": "execution.step.failed",
    "skipStep": "execution.step.skipped",
    "complete": "execution.completed",
    "fail": "execution.failed",
    "cancel": "execution.cancelled",
}
CREATION = ("execution.created", "execution.starting", "execution.started")
CHECKPOINT = "execution.checkpoint"

Outline = list[tuple[str, str | None, str | None]]
"""Types of events, each with its step and its time in the log."""


class Conflict(Exception):
    """The execution has events that the import has not written."""


class ImportProgress(NamedTuple):
    """How far an import got: so many events of its own, and how many the service made by itself beside them."""

    events: int
    checkpoints: int = 0


def own_progress(plan: Plan, row: JSON | None, service: ServiceClient) -> ImportProgress:
    """From where an import may continue; raises `Conflict` where others wrote."""
    if row is None:
        return ImportProgress(0)
    if (order := _id(row["order"])) != plan.order:
        raise Conflict(f"it belongs to the order {order}")
    version: int = row["version"]
    if version < plan.version or row["checkpoints"]:
        return _recognise(plan, service.history(plan.execution))
    _refuse_more(plan, version)
    if row["status"] != plan.status:
        raise Conflict(f"it is {row['status']}; by the log it would be {plan.status}")
    return ImportProgress(version)


def _id(reference: Any) -> Any:
    return reference["$id"] if isinstance(reference, dict) else reference


def _refuse_more(plan: Plan, events: int) -> None:
    if events > plan.version:
        raise Conflict(f"it has more events than the file: {events - plan.version}")


def _recognise(plan: Plan, history: list[JSON]) -> ImportProgress:
    """The history may be ahead of the row it is asked for: its length is the version."""
    made = [_outline(event) for event in history if not _is_automatic(event)]
    _refuse_more(plan, len(made))
    if made != _outline_of_plan(plan)[: len(made)]:
        raise Conflict("its history is not what the log makes")
    return (
        ImportProgress(len(made), len(history) - len(made))
        if len(made) >= CREATED
        else ImportProgress(0)
    )


def _is_automatic(event: JSON) -> bool:
    """Whether the service made an event by itself: of an execution that runs, every 15 minutes."""
    return event["type"] == CHECKPOINT and bool(event["data"].get("automatic"))


def _outline_of_plan(plan: Plan) -> Outline:
    first, *others = map(orjson.loads, plan.commands)
    created: Outline = [(event, None, first["occurredAt"]) for event in CREATION]
    return created + [(EVENTS[c["command"]], _step(c), c["occurredAt"]) for c in others]


def _outline(event: JSON) -> tuple[str, str | None, str | None]:
    return event["type"], _step(event["data"]), event.get("occurredat")


def _step(data: JSON) -> str | None:
    steps = data.get("steps")
    return steps[0]["id"] if steps else data.get("step")
