"""How the executions went: counts, rates, durations, cost, for all of them or group by group.

One narrow row per execution (`analytics_facts`), and of these, running totals (`analytics_totals`)
in six slices: all executions, and those of one service, assignee, customer, provider or day. A
question about one slice reads its few totals, however many executions there are. They are kept
by octaves of the duration, so a rank is found in its octave, and the rest of the way along an
index of the durations: percentiles are exact. Any other question reads the facts it concerns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import add
from typing import Any, ClassVar, NamedTuple

from psycopg import AsyncConnection

from domain.execution.events import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionStarting,
    ExecutionUpdated,
    RetryScheduled,
)
from domain.execution.step_events import UsageRecorded
from domain.execution.values import Status
from domain.kernel import Event, Recorded, aggregate_id
from domain.wire import in_milliseconds

CAPACITY = 5_000
NONE = ""
SLICES = ("service", "assignee", "customer", "provider", "day")

DURATIONS = "\n".join(
    f"CREATE INDEX IF NOT EXISTS analytics_durations_by_{column}"
    f" ON analytics_facts ({column}, duration) WHERE duration IS NOT NULL;"
    for column in (*SLICES, "status")
)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS analytics_facts (
    id          text COLLATE "C" PRIMARY KEY,
    "order"     text COLLATE "C" NOT NULL,
    service     text COLLATE "C" NOT NULL,
    customer    text COLLATE "C" NOT NULL,
    provider    text COLLATE "C" NOT NULL,
    assignee    text COLLATE "C" NOT NULL,  -- '' for none
    day         text COLLATE "C" NOT NULL,  -- of created_at, in UTC
    status      text COLLATE "C" NOT NULL,
    error_code  text COLLATE "C" NOT NULL,  -- '' unless failed
    success     boolean,
    created_at  timestamptz NOT NULL,
    started_at  timestamptz,
    duration    bigint,                     -- milliseconds; NULL until it has ended
    cost        numeric     NOT NULL,
    tokens      numeric     NOT NULL,
    api_calls   numeric     NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS analytics_facts_age ON analytics_facts (created_at);
CREATE INDEX IF NOT EXISTS analytics_facts_of_order ON analytics_facts ("order");
CREATE INDEX IF NOT EXISTS analytics_facts_of_service ON analytics_facts (service, created_at);
CREATE INDEX IF NOT EXISTS analytics_facts_of_customer ON analytics_facts (customer, created_at);
CREATE INDEX IF NOT EXISTS analytics_facts_of_provider ON analytics_facts (provider, created_at);
CREATE INDEX IF NOT EXISTS analytics_durations ON analytics_facts (duration)
    WHERE duration IS NOT NULL;
{DURATIONS}
CREATE TABLE IF NOT EXISTS analytics_totals (
    slice       text    COLLATE "C" NOT NULL,  -- service, assignee, customer, provider, day; '': all
    value       text    COLLATE "C" NOT NULL,  -- which service, ...; '' for all
    status      text    COLLATE "C" NOT NULL,
    error_code  text    COLLATE "C" NOT NULL,
    octave      smallint NOT NULL,  -- of the duration, see `octave`
    executions  bigint  NOT NULL,
    judged      bigint  NOT NULL,  -- with a result that says whether it was a success
    succeeded   bigint  NOT NULL,
    duration    numeric NOT NULL,
    cost        numeric NOT NULL,
    tokens      numeric NOT NULL,
    api_calls   numeric NOT NULL,
    PRIMARY KEY (slice, value, status, error_code, octave)
) WITH (fillfactor = 80);
"""


class Fact(NamedTuple):
    """What analytics knows of one execution; a row of `analytics_facts`, in its order."""

    id: str
    order: str
    service: str
    customer: str
    provider: str
    assignee: str
    day: str
    status: str
    error_code: str
    success: bool | None
    created_at: datetime
    started_at: datetime | None
    duration: int | None
    cost: Decimal
    tokens: Decimal
    api_calls: Decimal


def after(fact: Fact | None, recorded: Recorded) -> Fact:
    """The fact after an event that is `COUNTED`."""
    event = recorded.event
    if isinstance(event, ExecutionCreated):
        return _created(event, recorded)
    if fact is None:
        raise LookupError(f"{recorded.stream} goes on without a beginning")
    match event:
        case UsageRecorded():
            fact = _used(fact, event)
        case ExecutionUpdated():
            fact = _updated(fact, event)
        case ExecutionStarted():
            begun = fact.started_at or recorded.when
            fact = _moved(fact, Status.RUNNING, recorded, started_at=begun)
        case ExecutionCompleted():
            fact = _ended(fact, Status.COMPLETED, recorded, success=event.success)
        case ExecutionFailed():
            move = _ended if event.final else _moved
            fact = move(fact, Status.FAILED, recorded, error_code=event.error.code)
        case ExecutionCancelled():
            fact = _ended(fact, Status.CANCELLED, recorded)
        case ExecutionStarting() | ExecutionPaused() | ExecutionResumed() | RetryScheduled():
            fact = _moved(fact, MOVED[type(event)], recorded)
    return fact


MOVED: dict[type[Event], Status] = {
    ExecutionStarting: Status.STARTING,
    ExecutionPaused: Status.PAUSED,
    ExecutionResumed: Status.RUNNING,
    RetryScheduled: Status.RETRY,
}
COUNTED: tuple[type[Event], ...] = (
    *MOVED,
    ExecutionCreated,
    ExecutionStarted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionCancelled,
    ExecutionUpdated,
    UsageRecorded,
)
"""The events that change a fact; most events of a log do not."""


def _created(event: ExecutionCreated, recorded: Recorded) -> Fact:
    return Fact(
        aggregate_id(recorded.stream),
        event.order,
        event.service,
        event.customer,
        event.provider,
        _assignee(event),
        recorded.when.date().isoformat(),
        Status.QUEUED,
        NONE,
        None,
        recorded.when,
        None,
        None,
        Decimal(0),
        Decimal(0),
        Decimal(0),
    )


def _assignee(event: ExecutionCreated | ExecutionUpdated) -> str:
    return event.assignee.id if event.assignee else NONE


def _updated(fact: Fact, event: ExecutionUpdated) -> Fact:
    told = "assignee" in event.model_fields_set
    return fact._replace(assignee=_assignee(event)) if told else fact


def _used(fact: Fact, usage: UsageRecorded) -> Fact:
    return fact._replace(
        cost=fact.cost + usage.cost,
        tokens=fact.tokens + usage.tokens_used,
        api_calls=fact.api_calls + usage.api_calls,
    )


def _moved(fact: Fact, status: Status, _: Recorded, **changes: Any) -> Fact:
    unsettled: dict[str, Any] = {"error_code": NONE, "success": None, "duration": None}
    return fact._replace(status=status, **(unsettled | changes))


def _ended(fact: Fact, status: Status, recorded: Recorded, **changes: Any) -> Fact:
    begun = fact.started_at
    duration = None if begun is None else max(in_milliseconds(recorded.when - begun), 0)
    return _moved(fact, status, recorded, duration=duration, **changes)


COLUMNS = ", ".join('"order"' if f == "order" else f for f in Fact._fields)
LOAD = f"SELECT {COLUMNS} FROM analytics_facts WHERE id = ANY(%b::text[])"
KEEP = f"""INSERT INTO analytics_facts ({COLUMNS}) SELECT * FROM unnest(
    %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
    %b::text[], %b::boolean[], %b::timestamptz[], %b::timestamptz[], %b::bigint[], %b::numeric[],
    %b::numeric[], %b::numeric[])
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in Fact._fields[5:])}"""
AMOUNTS = ("executions", "judged", "succeeded", "duration", "cost", "tokens", "api_calls")
ADD = f"""INSERT INTO analytics_totals AS t SELECT * FROM unnest(
    %b::text[], %b::text[], %b::text[], %b::text[], %b::smallint[], %b::bigint[], %b::bigint[],
    %b::bigint[], %b::numeric[], %b::numeric[], %b::numeric[], %b::numeric[])
    ON CONFLICT (slice, value, status, error_code, octave) DO UPDATE SET
    {", ".join(f"{name} = t.{name} + excluded.{name}" for name in AMOUNTS)}"""


class Analytics:
    """The view. What is asked of it is in `projections.figures`."""

    name: ClassVar[str] = "analytics"
    schema: ClassVar[str] = SCHEMA
    tables: ClassVar[tuple[str, ...]] = ("analytics_facts", "analytics_totals")
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in COUNTED)

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._facts: OrderedDict[str, Fact] = OrderedDict()

    def forget(self) -> None:
        """Drop the facts kept between pages."""
        self._facts.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Fold the page onto the facts it touches; the totals move by the difference."""
        begun = {event.stream for event in page if event.version == 1}
        known = {event.stream for event in page} - begun
        before = await self._load(connection, [aggregate_id(stream) for stream in known])
        facts: dict[str, Fact] = dict(before)
        for event in page:
            execution = aggregate_id(event.stream)
            facts[execution] = after(facts.get(execution), event)
        self._facts.update(facts)
        changed = [fact for fact in facts.values() if fact != before.get(fact.id)]
        for statement, written in ((KEEP, changed), (ADD, _difference(before, facts))):
            if written:
                await connection.execute(statement, _columns(written), prepare=True)
        while len(self._facts) > self._capacity:
            self._facts.popitem(last=False)

    async def _load(self, connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Fact]:
        known = {key: self._facts.pop(key) for key in ids if key in self._facts}
        if missing := [key for key in ids if key not in known]:
            # Never prepared: a plan made while the table was empty would read all of it for long.
            cursor = await connection.execute(LOAD, (missing,), prepare=False, binary=True)
            known.update((row[0], Fact(*row)) for row in await cursor.fetchall())
        return known


def octave(duration: int | None) -> int:
    """0 for none; else the durations from 2^(n-2) up to 2^(n-1) ms share the octave n; 1 is 0 ms."""
    return 0 if duration is None else duration.bit_length() + 1


def _difference(before: Mapping[str, Fact], now: Mapping[str, Fact]) -> list[tuple[Any, ...]]:
    totals: dict[tuple[Any, ...], list[Any]] = {}
    for fact in now.values():
        _count(totals, fact, 1)
    for fact in before.values():
        _count(totals, fact, -1)
    return [(*cell, *amounts) for cell, amounts in totals.items() if any(amounts)]


def _count(totals: dict[tuple[Any, ...], list[Any]], fact: Fact, sign: int) -> None:
    amounts = (
        sign,
        sign * (fact.success is not None),
        sign * (fact.success is True),
        sign * Decimal(fact.duration or 0),
        sign * fact.cost,
        sign * fact.tokens,
        sign * fact.api_calls,
    )
    for place in ((NONE, NONE), *((name, getattr(fact, name)) for name in SLICES)):
        cell = *place, fact.status, fact.error_code, octave(fact.duration)
        known = totals.get(cell)
        totals[cell] = list(map(add, known, amounts)) if known else list(amounts)


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
