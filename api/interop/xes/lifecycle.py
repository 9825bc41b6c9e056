"""Converts each `lifecycle:transition` of a log to commands for steps."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from api.interop.xes.names import id_part, metadata, wire_time
from api.interop.xes.reader import NAME, RESOURCE, TIME, TRANSITION, XesEvent
from api.interop.xes.step_rounds import Rounds

COMPLETE, PI_ABORT, ATE_ABORT = "COMPLETE", "PI_ABORT", "ATE_ABORT"
STANDARD = frozenset({NAME, TIME, TRANSITION, RESOURCE})

JSON = dict[str, Any]
Send = Callable[..., None]
"""Called as `send(command, line, time, **body)`, with the line of the event in the file."""


def transition_of(event: XesEvent) -> str:
    """The transition of an event, in upper case; one without a transition is complete."""
    return str(event.attributes.get(TRANSITION, COMPLETE)).strip().upper()


class StepCommands:
    """Converts the events of one trace, in their order, to commands for steps.

    Events that have no command are left out, and counted in `ignored` by transition. A step that ends before its start,
    by the times of the log, ends at its start; `moved_times` counts such steps.
    """

    def __init__(self, send: Send) -> None:
        self.rounds = Rounds()
        self.ignored = Counter[str]()
        self.moved_times = 0
        self._send = send
        self._started: dict[str, datetime] = {}
        self._with_assignee: set[str] = set()
        self._assigned: dict[str, tuple[str, JSON]] = {}
        """Assignees of steps that no command has yet, with the transition that named them."""
        self._rules: dict[str, Callable[[XesEvent, str], None]] = {
            "SCHEDULE": self._schedule,
            "ASSIGN": self._assign,
            "REASSIGN": self._assign,
            "START": self._start,
            COMPLETE: self._complete,
            "AUTOSKIP": self._skip,
            "MANUALSKIP": self._skip,
            "WITHDRAW": self._withdraw,
            ATE_ABORT: self._abort,
            PI_ABORT: self._wait_for_end,
        }

    def add(self, event: XesEvent) -> None:
        transition = transition_of(event)
        self._rules.get(transition, self._ignore)(event, transition)

    def finish(self) -> None:
        """Count the assignments of steps that were never started, as no command has them."""
        self.ignored.update(transition for transition, _ in self._assigned.values())

    def _ignore(self, event: XesEvent, transition: str) -> None:
        self.ignored[transition] += 1

    def _wait_for_end(self, event: XesEvent, transition: str) -> None:
        """Do nothing, as the end of the execution skips its open steps."""

    def _schedule(self, event: XesEvent, transition: str) -> None:
        self._declare(event, self.rounds.schedule(event.activity), {})

    def _assign(self, event: XesEvent, transition: str) -> None:
        """Assign a step. There is no command for a pending step, so its assignee is sent with its start."""
        again = transition == "REASSIGN"
        pending = self.rounds.pending_steps(event.activity)
        waiting = [step for step in pending if again == (step in self._with_assignee)]
        assignee = _assignee(event)
        if not assignee or (again and not waiting):
            self._ignore(event, transition)
        elif waiting:
            self._keep_assignee(waiting[0], transition, assignee)
        else:
            step = self.rounds.schedule(event.activity)
            self._with_assignee.add(step)
            self._declare(event, step, assignee)

    def _keep_assignee(self, step: str, transition: str, assignee: JSON) -> None:
        if step in self._assigned:
            self.ignored[self._assigned[step][0]] += 1
        self._with_assignee.add(step)
        self._assigned[step] = transition, assignee

    def _start(self, event: XesEvent, transition: str) -> None:
        self._begin(event, self.rounds.start(event.activity), _other_attributes("input", event))

    def _complete(self, event: XesEvent, transition: str) -> None:
        step, was_running = self.rounds.complete(event.activity)
        if not was_running:
            self._begin(event, step, {})
        self._end("completeStep", event, step, **_other_attributes("output", event))

    def _skip(self, event: XesEvent, transition: str) -> None:
        step, was_there = self.rounds.skip(event.activity)
        if not was_there:
            self._declare(event, step, {})
        self._drop(event, step, transition)

    def _withdraw(self, event: XesEvent, transition: str) -> None:
        if step := self.rounds.withdraw(event.activity):
            self._drop(event, step, transition)
        else:
            self._ignore(event, transition)

    def _abort(self, event: XesEvent, transition: str) -> None:
        if step := self.rounds.abort(event.activity):
            self._end("failStep", event, step, code=transition, message=event.activity)
        else:
            self._withdraw(event, transition)

    def _declare(self, event: XesEvent, step: str, assignee: JSON) -> None:
        steps = [{"id": step, "name": event.activity, **assignee}]
        self._send("declareSteps", event.line, wire_time(event.at), steps=steps)

    def _begin(self, event: XesEvent, step: str, body: JSON) -> None:
        self._started[step] = event.at
        _, assigned = self._assigned.pop(step, ("", {}))
        self._send(
            "startStep",
            event.line,
            wire_time(event.at),
            step=step,
            name=event.activity,
            **(_assignee(event) or assigned),
            **body,
        )

    def _drop(self, event: XesEvent, step: str, transition: str) -> None:
        self._end("skipStep", event, step, reason=transition.lower())

    def _end(self, command: str, event: XesEvent, step: str, **body: object) -> None:
        at = max(event.at, self._started.pop(step, event.at))
        self.moved_times += at != event.at
        self._send(command, event.line, wire_time(at), step=step, **body)


def _assignee(event: XesEvent) -> JSON:
    resource = event.attributes.get(RESOURCE)
    if resource is None or resource == "":
        return {}
    name = str(resource)
    assignee = {"type": "human", "id": id_part(name)}
    return {"assignee": assignee if assignee["id"] == name else {**assignee, "name": name}}


def _other_attributes(kind: str, event: XesEvent) -> JSON:
    if event.attributes.keys() <= STANDARD:
        return {}
    return {kind: metadata({k: v for k, v in event.attributes.items() if k not in STANDARD})}
