"""What streams say: each event as its envelope, or in the words of those who watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson

from api.streams.entries import Entry, Told
from domain.eventlog.codec import open_json, sealed_json
from domain.execution.state import Execution
from domain.json_forms import format_time
from projections.representations.cloudevents import envelope
from projections.representations.execution import document, step_document

Said = list[tuple[str, bytes]]
"""Names, and JSON objects in bytes."""
Frame = dict[str, Any]


class Words(NamedTuple):
    """One way to speak of an event; `told` where it takes the state to do so."""

    name: str
    say: Callable[[Entry], Said]
    told: bool


def _envelope(entry: Entry) -> Said:
    return [(entry.type, envelope(entry.row, entry.key))]


def _envelope_with_state(entry: Entry) -> Said:
    after = entry.told.after if entry.told else None
    return [(entry.type, envelope(entry.row, entry.key, after))]


def _watched(entry: Entry) -> Said:
    return _said(entry, {})


def _watched_with_state(entry: Entry) -> Said:
    if entry.told is None:
        return []
    return _said(entry, {"state": document(entry.told.after, entry.told.after.at)})


def _said(entry: Entry, more: Frame) -> Said:
    told = entry.told
    if told is None:
        return []
    place = {
        "execution": told.after.state.id,
        "position": entry.position,
        "time": format_time(entry.row.at),
        **more,
    }
    said = list(frames(told, orjson.loads(entry.row.data)))
    for frame in said[:-1]:
        frame["more"] = True  # who goes on from a position must have seen all of it
    return [
        (frame["type"], open_json(sealed_json({**frame, **place}), entry.key)) for frame in said
    ]


def frames(told: Told, data: Frame) -> Iterator[Frame]:
    """The flat frames of one event: progress and status first, then its own.

    `data` is the event as it is stored; what is sealed in it stays sealed.
    """
    kind, state = told.recorded.event.type, told.after.state
    if kind == "execution.failed" and not data["final"]:
        return  # a retry follows in the same commit, and is what watchers see
    for change in changes(told):
        yield {"type": change, **CHANGES[change](state)}
    if kind in STEPS:
        step = step_document(state.steps[data["step"]], state.assignee)
        yield {"type": kind.removeprefix("execution."), "step": step}
    elif kind in OWN:
        yield {"type": kind.removeprefix("execution."), **OWN[kind](told, data)}


def changes(told: Told | None) -> Iterator[str]:
    """Types of the frames that an event of any type may give."""
    if told is None:
        return
    if told.recorded.event.type == "execution.progress" or _changed(told, lambda it: it.progress):
        yield "progress"
    if told.before is None or _changed(told, lambda it: it.status):
        yield "status_changed"


def _changed(told: Told, value: Callable[[Execution], object]) -> bool:
    return told.before is not None and value(told.before.state) != value(told.after.state)


def _short(number: float) -> float:
    return int(number) if number == int(number) else number


CHANGES: dict[str, Callable[[Execution], Frame]] = {
    "progress": lambda state: {"progress": _short(state.progress)},
    "status_changed": lambda state: {"status": state.status.value},
}
STEPS = frozenset(
    f"execution.step.{happened}" for happened in ("started", "completed", "failed", "skipped")
)
OWN: dict[str, Callable[[Told, Frame], Frame]] = {
    "execution.completed": lambda _, data: {"result": data["result"]},
    "execution.failed": lambda told, _: {"error": document(told.after, told.after.at)["error"]},
    "execution.cancelled": lambda told, data: {
        "reason": data.get("reason"),
        "by": told.recorded.by,
    },
    "execution.paused": lambda _, data: {
        "checkpoint": data["checkpoint"],
        "reason": data.get("reason"),
    },
    "execution.resumed": lambda _, data: {"checkpoint": data["checkpoint"]},
    "execution.retry": lambda _, data: data,
}

EVENTS = Words("events", _envelope, told=False)
EVENTS_WITH_STATE = Words("events+state", _envelope_with_state, told=True)
WATCH = Words("watch", _watched, told=True)
WATCH_WITH_STATE = Words("watch+state", _watched_with_state, told=True)
WITH_STATE = {EVENTS: EVENTS_WITH_STATE, WATCH: WATCH_WITH_STATE}
ALL = (*WITH_STATE, *WITH_STATE.values())
