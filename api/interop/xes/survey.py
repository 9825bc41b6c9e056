"""A log file as plans, and what it holds in all: read once to check, once to import."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from api.interop.xes.mapping import Mapping
from api.interop.xes.plan import Plan, plan_trace
from api.interop.xes.reader import RESOURCE, Trace, XesError, XesLog
from domain.types import NO_CONTROLS

LONGEST_ACTIVITY = 200
"""A step's id is at most 255 long: this leaves room for the number of a round."""
LONGEST_RESOURCE = 1000
ONE_LINE = re.compile(NO_CONTROLS)
LONGEST_COMMAND = 1 << 20


@dataclass(slots=True)
class Survey:
    """What a whole, correct log makes."""

    log: str
    executions: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    events: int = 0
    commands: int = 0
    empty_traces: int = 0
    ignored_events: Counter[str] = field(default_factory=Counter)
    unused_outcomes: list[str] = field(default_factory=list)

    def count(self, plan: Plan) -> None:
        self.executions[plan.status] += 1
        self.steps.update(plan.steps)
        self.ignored_events.update(plan.ignored)
        self.events += plan.events
        self.commands += len(plan.commands)


def survey(path: Path, mapping: Mapping, now: datetime, progress: Callable[[int], None]) -> Survey:
    """Read all of it, send nothing. Raises `XesError` for the first thing that is wrong.

    `progress` is told the bytes of the file that have been read.
    """
    unused = set(mapping.outcomes)
    with path.open("rb") as file:
        log = XesLog(file)
        found = Survey(log="")
        for trace in log:
            if not trace.events:
                found.empty_traces += 1
                continue
            _check(trace, now)
            unused.difference_update(event.activity for event in trace.events)
            plan = plan_trace(trace, mapping, "log")
            _check_size(plan, trace)
            found.count(plan)
            progress(file.tell())
    found.log = log.name or path.name.removesuffix(".gz").removesuffix(".xes")
    found.unused_outcomes = sorted(unused)
    return found


def plans(path: Path, mapping: Mapping, log: str) -> Iterator[Plan]:
    with path.open("rb") as file:
        for trace in XesLog(file):
            if trace.events:
                yield plan_trace(trace, mapping, log)


def _check(trace: Trace, now: datetime) -> None:
    """What the service would refuse must be known before anything is sent."""
    for event in trace.events:
        if event.at > now:
            raise XesError(event.line, f"the event lies in the future: {event.at.isoformat()}")
        if len(event.activity) > LONGEST_ACTIVITY:
            raise XesError(
                event.line, f"an activity's name is longer than {LONGEST_ACTIVITY} characters"
            )
        if not ONE_LINE.fullmatch(event.activity):
            raise XesError(event.line, "an activity's name has a control character")
        if len(str(event.attributes.get(RESOURCE, ""))) > LONGEST_RESOURCE:
            raise XesError(
                event.line, f"a resource's name is longer than {LONGEST_RESOURCE} characters"
            )


def _check_size(plan: Plan, trace: Trace) -> None:
    if max(map(len, plan.commands)) > LONGEST_COMMAND:
        raise XesError(
            trace.line, f"the attributes of a trace or event exceed {LONGEST_COMMAND} bytes"
        )
