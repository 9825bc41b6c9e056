"""Reads a log file: once to check and count everything, once as plans to import."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from api.interop.xes.limits import check_events, check_plan
from api.interop.xes.mapping import Mapping
from api.interop.xes.plan import Plan, plan_trace
from api.interop.xes.reader import XesLog


@dataclass(slots=True)
class Survey:
    """The totals of a valid log."""

    log: str
    executions: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    events: int = 0
    commands: int = 0
    empty_traces: int = 0
    ignored_events: Counter[str] = field(default_factory=Counter)
    moved_times: int = 0
    nan_values: int = 0
    unused_outcomes: list[str] = field(default_factory=list)

    def count(self, plan: Plan) -> None:
        self.executions[plan.status] += 1
        self.steps.update(plan.steps)
        self.ignored_events.update(plan.ignored)
        self.moved_times += plan.moved_times
        self.events += plan.events
        self.commands += len(plan.commands)


def survey(path: Path, mapping: Mapping, now: datetime, progress: Callable[[int], None]) -> Survey:
    """Read and check a whole log, without sending anything. Raises `XesError` for the first error.

    `progress` is called with the number of bytes of the file that were read.
    """
    unused = set(mapping.outcomes)
    with path.open("rb") as file:
        log = XesLog(file)
        found = Survey(log="")
        for trace in log:
            if not trace.events:
                found.empty_traces += 1
                continue
            check_events(trace, now)
            unused.difference_update(event.activity for event in trace.events)
            plan = plan_trace(trace, mapping, "log")
            check_plan(plan, trace.name)
            found.count(plan)
            progress(file.tell())
    found.nan_values = log.nan_values
    found.log = log.name or path.name.removesuffix(".gz").removesuffix(".xes")
    found.unused_outcomes = sorted(unused)
    return found


def plans(path: Path, mapping: Mapping, log: str) -> Iterator[Plan]:
    with path.open("rb") as file:
        for trace in XesLog(file):
            if trace.events:
                yield plan_trace(trace, mapping, log)
