"""What analytics knows of the runs of steps: one narrow row each, kept as events go by.

A step that was declared has a run that is pending; a step that is started again has another run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

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
from domain.execution.types import StepPlan, StepStatus
from domain.json_forms import in_milliseconds
from domain.model import Event, Recorded, aggregate_id
from domain.types import StepAssignee
from projections.analytics.row import NONE, Fact

OPEN = (StepStatus.PENDING, StepStatus.RUNNING)
ENDS = (ExecutionCompleted, ExecutionCancelled, ExecutionFailed, RetryScheduled)
"""The events that concern all steps of their execution that are open, or were cut short."""
OF_STEPS: tuple[type[Event], ...] = (
    StepStarted,
    StepCompleted,
    StepFailed,
    StepSkipped,
    StepsAdded,
)
"""The events that concern no more than steps."""


class StepRun(NamedTuple):
    """One run of a step; a row of `analytics_steps`, in its order.

    `own`: the step has an assignee of its own, and does not follow its execution's.
    """

    id: str
    step: str
    run: int
    name: str
    order: str
    service: str
    customer: str
    provider: str
    created_at: datetime
    own: bool
    assignee: str
    assignee_type: str
    model: str
    kind: str
    status: str
    error_code: str
    cut_short: bool
    started_at: datetime | None
    duration: int | None
    cost: Decimal
    tokens: Decimal
    api_calls: Decimal


SCHEMA = """
CREATE TABLE IF NOT EXISTS analytics_steps (
    id            text COLLATE "C" NOT NULL,  -- of the execution
    step          text COLLATE "C" NOT NULL,
    run           bigint  NOT NULL,           -- 1, 2, … of this step
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
    SELECT * FROM unnest({", ".join(f"%b::{kind}[]" for kind in KINDS)})
    ON CONFLICT (id, step, run) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in StepRun._fields[9:])}, name = excluded.name"""


class StepRuns:
    """The runs that a page of events concerns: as far as they are there, loaded, folded, kept."""

    def __init__(self, rows: Sequence[StepRun]) -> None:
        self._last: dict[str, dict[str, StepRun]] = {}
        for row in rows:
            self._last.setdefault(row.id, {})[row.step] = row
        self._changed: dict[tuple[str, str, int], StepRun] = {}

    @classmethod
    async def load(cls, connection: AsyncConnection, page: Sequence[Recorded]) -> StepRuns:
        """The last runs of the steps that a page names, and all open ones of what ends in it."""
        begun = {event.stream for event in page if event.version == 1}
        named: dict[tuple[str, str], None] = {}
        ending: dict[str, None] = {}
        for recorded in page:
            id_ = aggregate_id(recorded.stream)
            if recorded.stream in begun:
                continue
            if (step := getattr(recorded.event, "step", None)) is not None:
                named[id_, step] = None
            if isinstance(recorded.event, ENDS):
                ending[id_] = None
        rows: list[StepRun] = []
        # Never prepared: a plan made while the table was empty would read all of it for long.
        for query, values in (
            (LOAD_NAMED, [list(column) for column in zip(*named, strict=True)]),
            (LOAD_OPEN, [list(ending)] if ending else []),
        ):
            if values:
                cursor = await connection.execute(query, values, prepare=False, binary=True)
                rows += [StepRun(*row) for row in await cursor.fetchall()]
        return cls(rows)

    def apply(self, fact: Fact, recorded: Recorded) -> None:
        """Fold one event; `fact` is what is known of the execution after it."""
        event, when = recorded.event, recorded.when
        match event:
            case ExecutionCreated() | StepsAdded():
                for plan in event.steps:
                    self._keep(_new(fact, plan.id, plan.name, plan.assignee, _kind(plan)))
            case StepStarted():
                self._keep(_started(self._find(fact, event.step), fact, event, when))
            case StepCompleted() | StepSkipped() | StepFailed():
                self._end(fact, event, when)
            case UsageRecorded(step=str(step)) if run := self._find(fact, step):
                self._keep(_used(run, event))
            case _ if isinstance(event, ENDS):
                self._end_all(fact, event, when)

    def _end_all(self, fact: Fact, event: Event, when: datetime) -> None:
        """The end skips what is open; a retry takes that back."""
        if isinstance(event, ExecutionFailed) and not event.final:
            return
        for run in list(self._last.get(fact.id, {}).values()):
            if isinstance(event, RetryScheduled):
                if run.cut_short:
                    self._keep(_reopened(run))
            elif run.status in OPEN:
                self._keep(_ended(run, StepStatus.SKIPPED, when, cut_short=True))

    async def write(self, connection: AsyncConnection) -> None:
        """Keep what has changed."""
        if self._changed:
            columns = [list(column) for column in zip(*self._changed.values(), strict=True)]
            await connection.execute(KEEP, columns, prepare=True)

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
            self._keep(_ended(run, StepStatus.FAILED, when, error_code=event.error.code))
        else:
            self._keep(_ended(run, ENDED[type(event)], when))


ENDED: dict[type[Event], StepStatus] = {
    StepCompleted: StepStatus.COMPLETED,
    StepSkipped: StepStatus.SKIPPED,
}


def _kind(told: StepPlan | StepStarted) -> str:
    return getattr(told, "kind", None) or NONE


def _new(fact: Fact, step: str, name: str, own: StepAssignee | None, kind: str) -> StepRun:
    known = StepRun(
        fact.id,
        step,
        1,
        name,
        fact.order,
        fact.service,
        fact.customer,
        fact.provider,
        fact.created_at,
        own is not None,
        fact.assignee,
        fact.assignee_type,
        fact.model,
        kind,
        StepStatus.PENDING,
        NONE,
        False,
        None,
        None,
        Decimal(0),
        Decimal(0),
        Decimal(0),
    )
    return known if own is None else known._replace(**_assigned(fact, own))


def _assigned(fact: Fact, own: StepAssignee) -> dict[str, Any]:
    """The execution's assignee fills in what the step's, of the same type, leaves out."""
    same = own.type == fact.assignee_type
    return {
        "own": True,
        "assignee": own.id or (fact.assignee if same else NONE),
        "assignee_type": own.type,
        "model": own.model or (fact.model if same else NONE),
    }


def _started(run: StepRun | None, fact: Fact, event: StepStarted, when: datetime) -> StepRun:
    begun: dict[str, Any] = {"status": StepStatus.RUNNING, "started_at": when}
    if run is None:
        name = event.name or event.step
        return _new(fact, event.step, name, event.assignee, _kind(event))._replace(**begun)
    kind = _kind(event) or run.kind
    started = _new(fact, event.step, event.name or run.name, event.assignee, kind)
    if event.assignee is None and run.own:
        started = started._replace(
            own=True, assignee=run.assignee, assignee_type=run.assignee_type, model=run.model
        )
    if run.status != StepStatus.PENDING:
        return started._replace(run=run.run + 1, **begun)
    used: dict[str, Any] = {"cost": run.cost, "tokens": run.tokens, "api_calls": run.api_calls}
    return started._replace(run=run.run, **used, **begun)


def _ended(run: StepRun, status: StepStatus, when: datetime, **changes: Any) -> StepRun:
    begun = run.started_at
    duration = None if begun is None else max(in_milliseconds(when - begun), 0)
    plain: dict[str, Any] = {"error_code": NONE, "cut_short": False}
    return run._replace(status=status, duration=duration, **(plain | changes))


def _reopened(run: StepRun) -> StepRun:
    return run._replace(status=StepStatus.PENDING, started_at=None, duration=None, cut_short=False)


def _used(run: StepRun, usage: UsageRecorded) -> StepRun:
    return run._replace(
        cost=run.cost + usage.cost,
        tokens=run.tokens + usage.tokens_used,
        api_calls=run.api_calls + usage.api_calls,
    )
