"""Makes the frames of an event: the CloudEvents envelope, or flat frames for watchers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import orjson

from api.streaming.log.entry import Entry, States
from domain.damage import REPORTS
from domain.eventlog.codec import to_sealed_json
from domain.eventlog.encryption import DamagedKey, WrongKey
from domain.execution.events.lifecycle import ExecutionFailed
from domain.execution.parts import Step
from domain.execution.types import StepStatus
from domain.json_forms import format_time
from projections.representations.client_json import mark_unreadable, open_json
from projections.representations.cloudevents import envelope
from projections.representations.execution import document
from projections.representations.step import step_document

Frames = list[tuple[str, bytes]]
"""Pairs of a type and a JSON object in bytes."""
Frame = dict[str, Any]

STEP_TYPES = {
    StepStatus.RUNNING: "step.started",
    StepStatus.COMPLETED: "step.completed",
    StepStatus.FAILED: "step.failed",
    StepStatus.SKIPPED: "step.skipped",
}
"""The type of frame for each new status of a step; a step that is pending again has no frame."""


class Format(NamedTuple):
    """A way to represent events as frames; `folded` if it needs the states before and after an event."""

    name: str
    frames: Callable[[Entry], Frames]
    folded: bool


def _envelope(entry: Entry, *, with_state: bool = False) -> Frames:
    after = entry.states.after if with_state and entry.states else None
    return [(entry.type, envelope(entry.row, entry.key, after, entry.log))]


def _watch_frames(entry: Entry, *, with_state: bool = False) -> Frames:
    states = entry.states
    if states is None:
        return []
    after = states.after
    common = {
        "execution": after.state.id,
        "position": entry.position,
        "time": format_time(entry.row.at),
    }
    if with_state:
        common["state"] = document(after, after.at)
    flat = list(frames(states, orjson.loads(entry.row.data)))
    for frame in flat[:-1]:
        frame["more"] = True  # only with the last frame of an event may a cursor move
    sealed = [(frame["type"], to_sealed_json({**frame, **common})) for frame in flat]
    try:
        return [(type_, open_json(json, entry.key)) for type_, json in sealed]
    except WrongKey as error:
        if not isinstance(
            entry.key, DamagedKey
        ):  # a damaged key is reported once for all its events
            REPORTS.report("an event cannot be opened", entry.stream, entry.row.version, error)
        return [(type_, mark_unreadable(open_json(json, None))) for type_, json in sealed]


def frames(states: States, data: Frame) -> Iterator[Frame]:
    """The flat frames of one event: progress, status, each step whose status changed, then that of the event type.

    `data` is the event as it is stored; sealed fields stay sealed.
    """
    kind, state = states.recorded.event.type, states.after.state
    for type_ in _changes(states):
        yield {"type": type_, **CHANGES[type_](states)}
    for step in _changed_steps(states):
        yield {"type": STEP_TYPES[step.status], "step": step_document(step, state.assignee)}
    if kind in OWN and not _will_be_retried(states):
        yield {"type": kind.removeprefix("execution."), **OWN[kind](states, data)}


def types(states: States) -> Iterator[str]:
    """The types of an event's frames, except the frame of the event type."""
    yield from _changes(states)
    for step in _changed_steps(states):
        yield STEP_TYPES[step.status]


def _changes(states: States) -> Iterator[str]:
    before, after = states.before and states.before.state, states.after.state
    kind = states.recorded.event.type
    if kind == "execution.progress" or (before and before.progress != after.progress):
        yield "progress"
    if before is None or before.status != after.status:
        yield "status_changed"


def _changed_steps(states: States) -> list[Step]:
    """The steps whose status the event changed: the end of an execution skips open steps, a retry reopens them."""
    if states.before is None or states.before.state.steps is states.after.state.steps:
        return []
    before, after = states.before.state.steps, states.after.state.steps
    return [
        step
        for id_, step in after.items()
        if step is not before.get(id_)
        and step.status in STEP_TYPES
        and (id_ not in before or step.status != before[id_].status)
    ]


def _will_be_retried(states: States) -> bool:
    event = states.recorded.event
    return isinstance(event, ExecutionFailed) and not event.final


def _status(states: States) -> Frame:
    shown: Frame = {"status": states.after.state.status.value}
    return shown | {"final": False} if _will_be_retried(states) else shown


def _progress(states: States) -> Frame:
    progress = states.after.state.progress
    return {"progress": int(progress) if progress == int(progress) else progress}


CHANGES: dict[str, Callable[[States], Frame]] = {"progress": _progress, "status_changed": _status}
OWN: dict[str, Callable[[States, Frame], Frame]] = {
    "execution.completed": lambda _, data: {"result": data["result"]},
    "execution.failed": lambda states, _: {
        "error": document(states.after, states.after.at)["error"]
    },
    "execution.cancelled": lambda states, data: {
        "reason": data.get("reason"),
        "by": states.recorded.by,
    },
    "execution.paused": lambda _, data: {
        "checkpoint": data["checkpoint"],
        "reason": data.get("reason"),
    },
    "execution.resumed": lambda _, data: {"checkpoint": data["checkpoint"]},
    "execution.retry": lambda _, data: data,
    "execution.claimed": lambda _, data: {"worker": data["worker"]},
    "execution.released": lambda _, data: data,
    "execution.stalled": lambda _, data: data,
    "execution.recovered": lambda _, __: {},
}

EVENTS = Format("events", _envelope, folded=False)
EVENTS_WITH_STATE = Format("events+state", partial(_envelope, with_state=True), folded=True)
WATCH = Format("watch", _watch_frames, folded=True)
WATCH_WITH_STATE = Format("watch+state", partial(_watch_frames, with_state=True), folded=True)
WITH_STATE = {EVENTS: EVENTS_WITH_STATE, WATCH: WATCH_WITH_STATE}
FORMATS = (*WITH_STATE, *WITH_STATE.values())
