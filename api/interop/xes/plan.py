"""Plans the import of a trace: the commands that make its execution, in order."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from pydantic_core import from_json, to_json

from api.interop.xes.lifecycle import COMPLETE, PI_ABORT, StepCommands, transition_of
from api.interop.xes.mapping import Mapping
from api.interop.xes.names import execution_id, metadata, order_id, wire_time
from api.interop.xes.reader import XesEvent, XesTrace
from api.interop.xes.step_rounds import Rounds

CREATED = 3
"""The version of an execution after its creation and start, which are three events."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan for the execution of one trace. Every command after the first makes exactly one event.

    `lines` are the lines in the file that the commands come from. `moved_times` counts times of ends that were changed,
    as they were before the start.
    """

    execution: str
    order: str
    status: str
    ended_at: str | None
    events: int
    steps: dict[str, int]
    ignored: Counter[str]
    moved_times: int
    commands: list[bytes]
    lines: list[int]

    @property
    def version(self) -> int:
        return len(self.commands) + CREATED - 1

    def after(self, events: int, others: int = 0) -> list[bytes]:
        """The commands still to be sent to an execution that has so many events of this plan (0 = it is not there), and so
        many others beside them.
        """
        rest = self.commands[events - CREATED + 1 :] if events else self.commands
        return [_expect_later(command, others) for command in rest] if others else rest


def _expect_later(command: bytes, events: int) -> bytes:
    """A command that expects a version which is later by so many events."""
    item = from_json(command)
    return to_json({**item, "ifMatch": item["ifMatch"] + events})


@dataclass(slots=True)
class _Commands:
    execution: str
    encoded: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def add(self, command: str, line: int, at: str, **body: object) -> None:
        """Add a command with the version that it expects, so that a repetition is refused and changes nothing."""
        item = {"command": command, "execution": self.execution, "occurredAt": at, **body}
        if self.encoded:
            item["ifMatch"] = len(self.encoded) + CREATED - 1
        # `to_json`, as the bytes of orjson keep the memory that they grew in, several times their length.
        self.encoded.append(to_json(item))
        self.lines.append(line)


def plan_trace(trace: XesTrace, mapping: Mapping, log: str) -> Plan:
    """Plan a trace that has at least one event. docs/importing.md has the rules."""
    commands = _Commands(execution_id(log, trace.name))
    times = [event.at for event in trace.events]
    commands.add(
        "create",
        trace.line,
        wire_time(min(times)),
        order=order_id(log),
        service=mapping.service.id,
        status="running",
        timeout=0,
        metadata=metadata(trace.attributes),
    )
    steps = StepCommands(commands.add)
    for event in trace.events:
        steps.add(event)
    steps.finish()
    deciding_event = _deciding_event(trace, mapping)
    if deciding_event:
        _add_end(deciding_event, max(times), mapping, commands)
    return Plan(
        execution=commands.execution,
        order=order_id(log),
        status=_outcome(deciding_event, mapping) if deciding_event else "running",
        ended_at=wire_time(max(times)) if deciding_event else None,
        events=len(trace.events),
        steps=_count(steps.rounds, ended=deciding_event is not None),
        ignored=steps.ignored,
        moved_times=steps.moved_times,
        commands=commands.encoded,
        lines=commands.lines,
    )


def _deciding_event(trace: XesTrace, mapping: Mapping) -> XesEvent | None:
    """The last event that completed an activity with an outcome, or aborted the process."""
    for event in reversed(trace.events):
        transition = transition_of(event)
        completed = transition == COMPLETE and event.activity in mapping.outcomes
        if completed or transition == PI_ABORT:
            return event
    return None


def _outcome(deciding_event: XesEvent, mapping: Mapping) -> str:
    if transition_of(deciding_event) == PI_ABORT:
        return "cancelled"
    return mapping.outcomes[deciding_event.activity]


def _add_end(deciding_event: XesEvent, at: datetime, mapping: Mapping, commands: _Commands) -> None:
    activity, line, time = deciding_event.activity, deciding_event.line, wire_time(at)
    match _outcome(deciding_event, mapping):
        case "completed":
            commands.add("complete", line, time, success=True, output=None, summary=activity)
        case "failed":
            failure = mapping.failure
            commands.add(
                "fail",
                line,
                time,
                code=failure.code,
                message=activity,
                recoverable=failure.recoverable,
            )
        case "cancelled":
            commands.add("cancel", line, time, reason=activity)


def _count(rounds: Rounds, *, ended: bool) -> dict[str, int]:
    counts = {kind: rounds.ended[kind] for kind in ("completed", "failed", "skipped")}
    if ended:
        counts["skipped"] += rounds.pending + rounds.running
        return counts
    return {**counts, "pending": rounds.pending, "running": rounds.running}
