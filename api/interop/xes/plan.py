"""What a trace becomes: the commands that make its execution, in order."""

from collections import Counter
from dataclasses import dataclass, field

from pydantic_core import to_json

from api.interop.xes.mapping import Mapping
from api.interop.xes.names import execution_id, id_part, metadata, wire_time
from api.interop.xes.reader import NAME, RESOURCE, TIME, TRANSITION, LogEvent, Trace
from api.interop.xes.step_rounds import Rounds

CREATED = 3
"""The version of an execution that was just created and started: three events."""
STANDARD = frozenset({NAME, TIME, TRANSITION, RESOURCE})


@dataclass(frozen=True, slots=True)
class Plan:
    """The execution of one trace. Every command after the first makes exactly one event."""

    execution: str
    order: str
    status: str
    ended_at: str | None
    events: int
    steps: dict[str, int]
    ignored: Counter[str]
    commands: list[bytes]

    @property
    def version(self) -> int:
        return len(self.commands) + CREATED - 1

    def after(self, version: int) -> list[bytes]:
        """The commands still to be sent to an execution of this version (0 = not there)."""
        return self.commands[version - CREATED + 1 :] if version else self.commands


@dataclass(slots=True)
class _Commands:
    execution: str
    encoded: list[bytes] = field(default_factory=list)

    def add(self, command: str, at: str, **body: object) -> None:
        """Each names the version it expects, so that a repeat is refused and changes nothing."""
        item = {"command": command, "execution": self.execution, "occurredAt": at, **body}
        if self.encoded:
            item["ifMatch"] = len(self.encoded) + CREATED - 1
        # orjson's bytes keep the room they grew in, several times their length.
        self.encoded.append(to_json(item))


def plan_trace(trace: Trace, mapping: Mapping, log: str) -> Plan:
    """The rules are told in docs/importing.md. The trace must have at least one event."""
    order = id_part(log)
    commands = _Commands(execution_id(log, trace.name))
    commands.add(
        "create",
        wire_time(trace.events[0].at),
        order=order,
        service=mapping.service.id,
        status="running",
        timeout=None,
        metadata=metadata(trace.attributes),
    )
    rounds, ignored = Rounds(), Counter[str]()
    for event in trace.events:
        _add_event(event, rounds, commands, ignored)
    deciding = _deciding_event(trace, mapping)
    ended_at = wire_time(trace.events[-1].at) if deciding else None
    status = mapping.outcomes[deciding.activity] if deciding else "running"
    if deciding and ended_at:
        _add_end(deciding.activity, ended_at, mapping, commands)
    return Plan(
        execution=commands.execution,
        order=order,
        status=status,
        ended_at=ended_at,
        events=len(trace.events),
        steps=_count(rounds, ended=ended_at is not None),
        ignored=ignored,
        commands=commands.encoded,
    )


def transition_of(event: LogEvent) -> str:
    """An event without a lifecycle is complete; logs disagree about upper and lower case."""
    return str(event.attributes.get(TRANSITION, "COMPLETE")).upper()


def _add_event(event: LogEvent, rounds: Rounds, commands: _Commands, ignored: Counter[str]) -> None:
    activity, at, transition = event.activity, wire_time(event.at), transition_of(event)
    if transition == "SCHEDULE":
        step = rounds.schedule(activity)
        commands.add("declareSteps", at, steps=[{"id": step, "name": activity}])
    elif transition == "START":
        step = rounds.start(activity)
        commands.add(
            "startStep", at, step=step, name=activity, **_by(event), **_rest("input", event)
        )
    elif transition == "COMPLETE":
        step, was_running = rounds.complete(activity)
        if not was_running:
            commands.add("startStep", at, step=step, name=activity, **_by(event))
        commands.add("completeStep", at, step=step, **_rest("output", event))
    else:
        ignored[transition] += 1


def _by(event: LogEvent) -> dict[str, object]:
    resource = event.attributes.get(RESOURCE)
    if resource is None or resource == "":
        return {}
    name = str(resource)
    assignee = {"type": "human", "id": id_part(name)}
    return {"assignee": assignee if assignee["id"] == name else {**assignee, "name": name}}


def _rest(kind: str, event: LogEvent) -> dict[str, object]:
    if event.attributes.keys() <= STANDARD:
        return {}
    return {kind: metadata({k: v for k, v in event.attributes.items() if k not in STANDARD})}


def _deciding_event(trace: Trace, mapping: Mapping) -> LogEvent | None:
    """The last completed outcome activity."""
    for event in reversed(trace.events):
        if event.activity in mapping.outcomes and transition_of(event) == "COMPLETE":
            return event
    return None


def _add_end(activity: str, at: str, mapping: Mapping, commands: _Commands) -> None:
    match mapping.outcomes[activity]:
        case "completed":
            commands.add("complete", at, success=True, output=None, summary=activity)
        case "failed":
            failure = mapping.failure
            commands.add(
                "fail", at, code=failure.code, message=activity, recoverable=failure.recoverable
            )
        case "cancelled":
            commands.add("cancel", at, reason=activity)


def _count(rounds: Rounds, *, ended: bool) -> dict[str, int]:
    pending, running = rounds.pending, rounds.running
    if ended:
        return {"completed": rounds.completed, "skipped": pending + running}
    return {"completed": rounds.completed, "pending": pending, "running": running}
