"""Whether an execution is the import's own work, and how far it got."""

from typing import Any

import orjson

from api.interop.xes.client import JSON, ServiceClient
from api.interop.xes.plan import CREATED, Plan

# The event that each command makes.
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

Outline = list[tuple[str, str | None, str | None]]
"""Event types, each with the step it concerns and the log's time."""


class Conflict(Exception):
    """Something else wrote to this execution."""


def own_version(plan: Plan, row: JSON | None, service: ServiceClient) -> int:
    """The version an import may continue from; raises `Conflict` where others wrote."""
    if row is None:
        return 0
    version: int = row["version"]
    if (order := _id(row["order"])) != plan.order:
        raise Conflict(f"it belongs to the order {order}")
    if version > plan.version:
        raise Conflict(f"it has {version - plan.version} more events than the log makes")
    if version < plan.version:
        return _recognise(plan, _outline_of_history(service, plan))
    if row["status"] != plan.status:
        raise Conflict(f"it is {row['status']}; by the log it would be {plan.status}")
    return version


def _id(reference: Any) -> Any:
    return reference["$id"] if isinstance(reference, dict) else reference


def _recognise(plan: Plan, made: Outline) -> int:
    """The history may be ahead of the row it is asked for: its length is the version."""
    if made != _outline_of_plan(plan)[: len(made)]:
        raise Conflict("its history is not what the log makes")
    return len(made) if len(made) >= CREATED else 0


def _outline_of_plan(plan: Plan) -> Outline:
    first, *others = map(orjson.loads, plan.commands)
    created: Outline = [(event, None, first["occurredAt"]) for event in CREATION]
    return created + [(EVENTS[c["command"]], _step(c), c["occurredAt"]) for c in others]


def _outline_of_history(service: ServiceClient, plan: Plan) -> Outline:
    history = service.history(plan.execution)
    return [(event["type"], _step(event["data"]), event.get("occurredat")) for event in history]


def _step(data: JSON) -> str | None:
    steps = data.get("steps")
    return steps[0]["id"] if steps else data.get("step")
