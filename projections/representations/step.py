"""The JSON of a step."""

from __future__ import annotations

from typing import Any

import orjson

from domain.execution.parts import CACHED_JSON, Step
from domain.json_forms import MILLISECOND, format_time
from domain.types import Assignee, StepAssignee
from projections.representations.client_json import plain_json
from projections.representations.values import error_document, totals_document

LARGEST_CACHED = 4 * 1024
"""Bytes that the JSON of a step may have to be cached with the step."""


def step_document(step: Step, executing: Assignee | None = None) -> dict[str, Any]:
    """Return a step as clients see it. Members that its assignee lacks come from `executing`, the execution's assignee,
    unless the two differ in other members.
    """
    shown: dict[str, Any] = {"id": step.id, "name": step.name, "status": step.status._value_}
    if step.parent is not None:
        shown["parent"] = step.parent
    if step.kind is not None:
        shown["kind"] = step.kind
    if step.started_at:
        shown["startedAt"] = format_time(step.started_at)
    if step.completed_at:
        shown["completedAt"] = format_time(step.completed_at)
        if step.started_at:
            shown["duration"] = max((step.completed_at - step.started_at) // MILLISECOND, 0)
    if step.assignee:
        shown["assignee"] = _step_assignee(step.assignee, executing)
    _add_step_outcome(shown, step)
    return shown


def step_json(step: Step, executing: Assignee | None) -> orjson.Fragment:
    """Return the JSON of `step_document` for a step whose content is unsealed.

    The JSON is cached with the step if it is small, because a command leaves most steps unchanged.
    """
    cached: tuple[Assignee | None, orjson.Fragment] | None = step.__dict__.get(CACHED_JSON)
    if cached is not None and cached[0] is executing:
        return cached[1]
    content = plain_json(step_document(step, executing))
    fragment = orjson.Fragment(content)
    if len(content) <= LARGEST_CACHED:
        step.__dict__[CACHED_JSON] = executing, fragment
    return fragment


def _add_step_outcome(shown: dict[str, Any], step: Step) -> None:
    if step.input is not None:
        shown["input"] = step.input
    if step.output is not None:
        shown["output"] = step.output
    if step.error:
        shown["error"] = error_document(step.error)
    if step.reason is not None:
        shown["reason"] = step.reason
    if step.used:
        shown["metrics"] = totals_document(step.used)


def _step_assignee(assignee: StepAssignee, executing: Assignee | None) -> dict[str, Any]:
    default = executing if executing and _agrees(assignee, executing) else assignee
    shown = {
        "type": assignee.type,
        "id": assignee.id or default.id,
        "name": assignee.name or default.name,
        "model": assignee.model or default.model,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _agrees(assignee: StepAssignee, executing: Assignee) -> bool:
    return (
        assignee.type == executing.type
        and assignee.id in (None, executing.id)
        and assignee.name in (None, executing.name)
        and assignee.model in (None, executing.model)
    )
