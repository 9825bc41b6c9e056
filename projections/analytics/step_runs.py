"""What analytics knows of the runs of steps: one narrow row each, kept as events go by.

A step that was declared has a run that is pending; a step that is started again has another run.
The steps that a fork brings along were run elsewhere, and are counted there.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import datetime

from psycopg import AsyncConnection

from domain.eventlog.pg_arrays import columns, placeholders
from domain.execution.claim_events import ExecutionReleased
from domain.execution.events import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
    RetryScheduled,
)
from domain.execution.step_events import (
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
from projections.analytics import step_row
from projections.analytics.row import Fact
from projections.analytics.step_row import StepRun

ENDS = (
    ExecutionCompleted,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionReleased,
    RetryScheduled,
)
"""The events that concern all steps of their execution that are open, or were cut short."""
OF_STEPS: tuple[type[Event], ...] = (
    StepStarted,
    StepCompleted,
    StepFailed,
    StepSkipped,
    StepsAdded,
)
"""The events that concern no more than steps."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS analytics_steps (
    id            text COLLATE "C" NOT NULL,  -- of the execution
    step          text COLLATE "C" NOT NULL,
    run           bigint  NOT NULL,           -- 1, 2, … of this step; 0: in another execution
    name          text COLLATE "C" NOT NULL,
    "order"       text COLLATE "C" NOT NULL,
    service       text COLLATE "C" NOT NULL,
    customer      text COLLATE "C" NOT NULL,
    provider      text COLLATE "C" NOT NULL,
    created_at    timestamptz NOT NULL,       -- of the execution
    own           boolean NOT NULL,
    assignee      text COLLATE "C" NOT NULL,  -- '' for none, as in the three that follow
    assignee_type text COLLATE "C" NOT NULL,
    model         text COLLATE "C" NOT NULL,
    kind          text COLLATE "C" NOT NULL,
    status        text COLLATE "C" NOT NULL,
    error_code    text COLLATE "C" NOT NULL,  -- '' unless failed
    cut_short     boolean NOT NULL,           -- skipped because the execution ended
    started_at    timestamptz,
    duration      bigint,                     -- milliseconds; NULL until it has ended
    cost          numeric NOT NULL,
    tokens        numeric NOT NULL,
    api_calls     numeric NOT NULL,
    PRIMARY KEY (id, step, run)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS analytics_steps_age ON analytics_steps (created_at);
CREATE INDEX IF NOT EXISTS analytics_steps_of_people ON analytics_steps (id)
    WHERE status IN ('pending', 'running')
    AND ((own AND assignee_type IN ('human', 'hybrid')) OR kind = 'human');
CREATE INDEX IF NOT EXISTS analytics_steps_of_service ON analytics_steps (service, created_at);
"""
KINDS = (
    *("text", "text", "bigint", "text", "text", "text", "text", "text", "timestamptz", "boolean"),
    *("text", "text", "text", "text", "text", "text", "boolean", "timestamptz", "bigint"),
    *("numeric", "numeric", "numeric"),
)
NAMES = ", ".join('"order"' if name == "order" else name for name in StepRun._fields)
LOAD_NAMED = f"""SELECT known.* FROM unnest(%b::text[], %b::text[]) AS wanted (id, step)
    CROSS JOIN LATERAL (SELECT {NAMES} FROM analytics_steps AS s
        WHERE s.id = wanted.id AND s.step = wanted.step ORDER BY s.run DESC LIMIT 1) AS known"""
LOAD_OPEN = f"""SELECT {NAMES} FROM analytics_steps
    WHERE id = ANY(%b::text[]) AND (status IN ('pending', 'running') OR cut_short)"""
KEEP = f"""INSERT INTO analytics_steps ({NAMES})
    SELECT * FROM unnest({placeholders(KINDS)})
    ON CONFLICT (id, step, run) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in StepRun._fields[9:])}, name = excluded.name"""


class RunCache:
    """The last runs of all steps of executions that were seen from their beginning."""

    def __init__(self, capacity: int) -> None:
        self._known: LruCache[str, dict[str, StepRun]] = LruCache(
            capacity, lambda runs: 1 + len(runs)
        )

    def __contains__(self, execution: object) -> bool:
        return execution in self._known

    def take(self, execution: str) -> dict[str, StepRun]:
        """A copy of the runs of an execution, by step; none where they are not known."""
        return dict(self._known.get(execution) or {})

    def keep(self, runs: Mapping[str, dict[str, StepRun] | None]) -> None:
        """Keep the runs of executions, by step; forget those that are None."""
        for execution, its in runs.items():
            if its is None:
                self._known.pop(execution)
            else:
                self._known.put(execution, its)
        self._known.trim()

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()


class StepRuns:
    """The runs that a page of events concerns: as far as they are there, loaded, folded, kept."""

    def __init__(self, last: dict[str, dict[str, StepRun]], whole: set[str]) -> None:
        self._last = last
        self._whole = whole
        self._changed: dict[tuple[str, str, int], StepRun] = {}

    @classmethod
    async def load(
        cls, connection: AsyncConnection, page: Sequence[Recorded], cache: RunCache
    ) -> StepRuns:
        """The last runs of the steps that a page names, and all open ones of what ends in it."""
        whole: set[str] = set()
        named: dict[tuple[str, str], None] = {}
        ending: dict[str, None] = {}
        for recorded in page:
            id_ = aggregate_id(recorded.stream)
            if recorded.version == 1 or id_ in cache:
                whole.add(id_)
            if id_ in whole:
                continue
            if (step := getattr(recorded.event, "step", None)) is not None:
                named[id_, step] = None
            if isinstance(recorded.event, ENDS):
                ending[id_] = None
        last = {id_: cache.take(id_) for id_ in whole}
        for run in await _load(connection, list(named), list(ending)):
            last.setdefault(run.id, {})[run.step] = run
        return cls(last, whole)

    def keep(self, cache: RunCache, ended: Container[str]) -> None:
        """Keep the runs of executions that are known whole for the next page, but not of those that have ended."""
        cache.keep({id_: None if id_ in ended else self._last[id_] for id_ in self._whole})

    def apply(self, fact: Fact, recorded: Recorded) -> None:
        """Fold one event; `fact` is what is known of the execution after it."""
        event, when = recorded.event, recorded.when
        match event:
            case ExecutionCreated():
                elsewhere = {carried.step: carried.status for carried in event.carried}
                for plan in event.steps:
                    self._keep(step_row.declared(fact, plan, elsewhere.get(plan.id)))
            case StepsAdded():
                for plan in event.steps:
                    self._keep(step_row.declared(fact, plan))
            case StepStarted():
                self._keep(step_row.started(self._find(fact, event.step), fact, event, when))
            case StepCompleted() | StepSkipped() | StepFailed():
                self._end(fact, event, when)
            case UsageRecorded(step=str(step)) if run := self._find(fact, step):
                self._keep(step_row.used(run, event))
            case _ if isinstance(event, ENDS):
                self._end_all(fact, event, when)

    def _end_all(self, fact: Fact, event: Event, when: datetime) -> None:
        for run in list(self._last.get(fact.id, {}).values()):
            if (ended := step_row.after_end(run, event, when)) is not run:
                self._keep(ended)

    async def write(self, connection: AsyncConnection) -> None:
        """Store what has changed."""
        if self._changed:
            rows = list(self._changed.values())
            await connection.execute(KEEP, columns(KINDS, rows), prepare=True)

    def _find(self, fact: Fact, step: str) -> StepRun | None:
        return self._last.get(fact.id, {}).get(step)

    def _keep(self, run: StepRun) -> None:
        self._last.setdefault(run.id, {})[run.step] = run
        self._changed[run.id, run.step, run.run] = run

    def _end(
        self, fact: Fact, event: StepCompleted | StepSkipped | StepFailed, when: datetime
    ) -> None:
        run = self._find(fact, event.step)
        if run is None:
            raise LookupError(f"step {event.step} of execution/{fact.id} ends without a beginning")
        if isinstance(event, StepFailed):
            self._keep(step_row.ended(run, StepStatus.FAILED, when, error_code=event.error.code))
        else:
            self._keep(step_row.ended(run, ENDED[type(event)], when))


async def _load(
    connection: AsyncConnection, named: Sequence[tuple[str, str]], ending: Sequence[str]
) -> list[StepRun]:
    rows: list[StepRun] = []
    # Never prepared: a plan made while the table was empty would read all of it for long.
    for query, values in (
        (LOAD_NAMED, [list(column) for column in zip(*named, strict=True)]),
        (LOAD_OPEN, [list(ending)] if ending else []),
    ):
        if values:
            cursor = await connection.execute(query, values, prepare=False, binary=True)
            rows += [StepRun(*row) for row in await cursor.fetchall()]
    return rows


ENDED: dict[type[Event], StepStatus] = {
    StepCompleted: StepStatus.COMPLETED,
    StepSkipped: StepStatus.SKIPPED,
}
