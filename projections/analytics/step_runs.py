"""Keeps the runs of steps, one narrow row each, up to date with the events.

A declared step has a pending run; a step that is started again after its end has another run. Steps that a forked
execution has taken over were run, and are counted, in the original execution.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from domain.eventlog.connection.pg_arrays import columns
from domain.execution.events.claims import ExecutionReleased
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    RetryScheduled,
)
from domain.execution.events.steps import (
    StepCompleted,
    StepFailed,
    StepsAdded,
    StepSkipped,
    StepStarted,
    UsageRecorded,
)
from domain.execution.types import StepStatus
from domain.lru import LruCache
from domain.model import Event, Recorded, aggregate_id
from projections.analytics import step_row, step_tables
from projections.analytics.row import Fact
from projections.analytics.step_row import StepRun

ENDS = (
    ExecutionCompleted,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionReleased,
    RetryScheduled,
)
"""The events that change all open runs of their execution, or those that were cut short."""
OF_STEPS: tuple[type[Event], ...] = (
    StepStarted,
    StepCompleted,
    StepFailed,
    StepSkipped,
    StepsAdded,
)
"""The events that change only runs of steps."""

Key = tuple[int, str, int]
"""The key of a run: the position of the first event of its execution, the id of the step, the number of the run."""


class RunCache:
    """A cache of the last run of each step, for executions whose events were all applied by this process."""

    def __init__(self, capacity: int) -> None:
        self._runs: LruCache[str, dict[str, StepRun]] = LruCache(
            capacity, lambda runs: 1 + len(runs)
        )

    def __contains__(self, execution: object) -> bool:
        return execution in self._runs

    def take(self, execution: str) -> dict[str, StepRun]:
        """Return a copy of the runs of an execution, by step; empty if they are not cached."""
        return dict(self._runs.get(execution) or {})

    def put(self, runs: Mapping[str, dict[str, StepRun] | None]) -> None:
        """Cache the runs of executions, by step; drop the executions whose runs are None."""
        for execution, by_step in runs.items():
            if by_step is None:
                self._runs.pop(execution)
            else:
                self._runs.put(execution, by_step)
        self._runs.trim()

    def clear(self) -> None:
        """Drop all cached runs."""
        self._runs.clear()


class StepRuns:
    """The runs that a page of events changes: loaded, changed by the events, written."""

    def __init__(self, last: dict[str, dict[str, StepRun]], complete: set[str]) -> None:
        self._last = last
        self._complete = complete
        """The executions of which the last runs of all steps are in `last`."""
        self._changed: dict[Key, StepRun] = {}
        self._stored_in: dict[Key, str] = {}
        """The tables in which the changed runs are stored."""

    @classmethod
    async def load(
        cls,
        connection: AsyncConnection,
        page: Sequence[Recorded],
        cache: RunCache,
        facts: Mapping[str, Fact],
    ) -> StepRuns:
        """Load the last runs of the steps that the events of a page name, and the open runs of the executions that end in
        it. `facts` are the facts of the executions before the page.
        """
        complete: set[str] = set()
        named: dict[tuple[int, str], None] = {}
        ending: dict[int, None] = {}
        for recorded in page:
            id_ = aggregate_id(recorded.stream)
            if recorded.version == 1 or id_ in cache:
                complete.add(id_)
            if id_ in complete or id_ not in facts:
                continue
            if (step := getattr(recorded.event, "step", None)) is not None:
                named[facts[id_].created, step] = None
            if isinstance(recorded.event, ENDS):
                ending[facts[id_].created] = None
        last = {id_: cache.take(id_) for id_ in complete}
        found = await _load(connection, list(named), list(ending))
        ids = {fact.created: id_ for id_, fact in facts.items()} if found else {}
        for run in found:
            last.setdefault(ids[run.created], {})[run.step] = run
        return cls(last, complete)

    def put_into(self, cache: RunCache, ended: Container[str]) -> None:
        """Cache the runs of executions that are complete here and have not ended."""
        cache.put({id_: None if id_ in ended else self._last[id_] for id_ in self._complete})

    def apply(self, execution: str, fact: Fact, recorded: Recorded) -> None:
        """Apply an event; `fact` is the fact of its execution after it."""
        if (change := CHANGES.get(type(recorded.event))) is not None:
            last = self._last.setdefault(execution, {})
            for run in change(last, fact, recorded.event, recorded):
                self._set(last, run)

    async def write(self, connection: AsyncConnection) -> None:
        """Write the changed runs, and delete those that move to the other table from the table where they were."""
        removed: dict[str, list[Key]] = {}
        for key, table in self._stored_in.items():
            if table != step_tables.part(self._changed[key]):
                removed.setdefault(table, []).append(key)
        for table, keys in removed.items():
            values = columns(step_tables.KEY_KINDS, keys)
            # Not prepared: a plan made while the table was empty would scan the whole table later.
            await connection.execute(step_tables.LEAVE.format(table=table), values, prepare=False)
        if self._changed:
            rows = columns(step_tables.KINDS, self._changed.values())
            await connection.execute(step_tables.STORE, rows, prepare=True)

    def _set(self, last: dict[str, StepRun], run: StepRun) -> None:
        key, before = (run.created, run.step, run.run), last.get(run.step)
        if before is not None and before.run == run.run and key not in self._changed:
            self._stored_in[key] = step_tables.part(before)
        last[run.step] = self._changed[key] = run


Last = Mapping[str, StepRun]
"""The last run of each step."""


def _create(_: Last, fact: Fact, event: ExecutionCreated, __: Recorded) -> list[StepRun]:
    elsewhere = {carried.step: carried.status for carried in event.carried}
    return [step_row.declare(fact, plan, elsewhere.get(plan.id)) for plan in event.steps]


def _add(_: Last, fact: Fact, event: StepsAdded, __: Recorded) -> list[StepRun]:
    return [step_row.declare(fact, plan) for plan in event.steps]


def _start(last: Last, fact: Fact, event: StepStarted, recorded: Recorded) -> list[StepRun]:
    return [step_row.start(last.get(event.step), fact, event, recorded.when)]


def _end(
    last: Last, _: Fact, event: StepCompleted | StepSkipped | StepFailed, recorded: Recorded
) -> list[StepRun]:
    run, when = last.get(event.step), recorded.when
    if run is None:
        raise LookupError(f"step {event.step} of {recorded.stream} ends without a beginning")
    if isinstance(event, StepFailed):
        return [step_row.end(run, StepStatus.FAILED, when, error_code=event.error.code)]
    return [step_row.end(run, ENDED[type(event)], when)]


def _use(last: Last, _: Fact, event: UsageRecorded, __: Recorded) -> list[StepRun]:
    run = None if event.step is None else last.get(event.step)
    return [] if run is None else [step_row.add_usage(run, event)]


def _end_all(last: Last, _: Fact, event: Event, recorded: Recorded) -> list[StepRun]:
    ended = [(run, step_row.after_end(run, event, recorded.when)) for run in last.values()]
    return [after for before, after in ended if after is not before]


Change = Callable[[Last, Fact, Any, Recorded], list[StepRun]]
CHANGES: dict[type[Event], Change] = {
    ExecutionCreated: _create,
    StepsAdded: _add,
    StepStarted: _start,
    StepCompleted: _end,
    StepSkipped: _end,
    StepFailed: _end,
    UsageRecorded: _use,
    **dict.fromkeys(ENDS, _end_all),
}
"""The function for each event that returns the changed runs, from the last runs and the fact after the event."""


async def _load(
    connection: AsyncConnection, named: Sequence[tuple[int, str]], ending: Sequence[int]
) -> list[StepRun]:
    rows: list[StepRun] = []
    # Not prepared: a plan made while the table was empty would scan the whole table later.
    for query, values in (
        (step_tables.LOAD_NAMED, [list(column) for column in zip(*named, strict=True)]),
        (step_tables.LOAD_OPEN, [list(ending)] if ending else []),
    ):
        if values:
            cursor = await connection.execute(query, values, prepare=False, binary=True)
            rows += [StepRun(*row) for row in await cursor.fetchall()]
    return rows


ENDED: dict[type[Event], StepStatus] = {
    StepCompleted: StepStatus.COMPLETED,
    StepSkipped: StepStatus.SKIPPED,
}
