"""How the executions went: counts, rates, durations, cost, for all of them or group by group.

One narrow row per execution (`analytics_facts`), and of these, running totals (`analytics_totals`)
in slices: all executions, and those of one service, assignee, type of assignee, model, customer,
provider or day. A question about one slice reads its few totals, however many executions there are.
Beside them stands how many durations are in each octave (`analytics_spread`): so a rank is found in
its octave and from there along an index, and percentiles are exact. Other questions read the facts
they mean. Of steps there is a narrow row per run (`analytics_steps`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from operator import add
from typing import Any, ClassVar

from psycopg import AsyncConnection

from domain.model import Recorded, aggregate_id
from domain.types import EXACT
from projections.analytics import step_runs
from projections.analytics.row import COUNTED, NONE, Fact, after
from projections.analytics.step_runs import OF_STEPS, StepRuns

CAPACITY = 5_000
SLICES = ("service", "assignee", "assignee_type", "model", "customer", "provider", "day")

DURATIONS = "\n".join(
    f"CREATE INDEX IF NOT EXISTS analytics_durations_by_{column}"
    f" ON analytics_facts ({column}, duration) WHERE duration IS NOT NULL;"
    for column in (*SLICES, "status")
)
SEEN = "\n".join(
    f"CREATE INDEX IF NOT EXISTS analytics_facts_of_{column}"
    f" ON analytics_facts ({column}, created_at);"
    for column in (*SLICES[:-1], "status")
)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS analytics_facts (
    id          text COLLATE "C" PRIMARY KEY,
    "order"     text COLLATE "C" NOT NULL,
    service     text COLLATE "C" NOT NULL,
    customer    text COLLATE "C" NOT NULL,
    provider    text COLLATE "C" NOT NULL,
    assignee    text COLLATE "C" NOT NULL,  -- '' for none, as in the two that follow
    assignee_type text COLLATE "C" NOT NULL,
    model       text COLLATE "C" NOT NULL,
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
{SEEN}
CREATE INDEX IF NOT EXISTS analytics_durations ON analytics_facts (duration)
    WHERE duration IS NOT NULL;
{DURATIONS}
CREATE TABLE IF NOT EXISTS analytics_totals (
    slice       text    COLLATE "C" NOT NULL,  -- one of SLICES; '': all
    value       text    COLLATE "C" NOT NULL,  -- which service, ...; '' for all
    status      text    COLLATE "C" NOT NULL,
    error_code  text    COLLATE "C" NOT NULL,
    executions  bigint  NOT NULL,
    judged      bigint  NOT NULL,  -- with a result that says whether it was a success
    succeeded   bigint  NOT NULL,
    ended       bigint  NOT NULL,  -- with a duration
    duration    numeric NOT NULL,
    cost        numeric NOT NULL,
    tokens      numeric NOT NULL,
    api_calls   numeric NOT NULL,
    PRIMARY KEY (slice, value, status, error_code)
) WITH (fillfactor = 80);
CREATE TABLE IF NOT EXISTS analytics_spread (
    slice  text     COLLATE "C" NOT NULL,  -- as above, or status
    value  text     COLLATE "C" NOT NULL,
    octave smallint NOT NULL,
    ended  bigint   NOT NULL,
    PRIMARY KEY (slice, value, octave)
) WITH (fillfactor = 80);
{step_runs.SCHEMA}"""


COLUMNS = ", ".join('"order"' if f == "order" else f for f in Fact._fields)
LOAD = f"SELECT {COLUMNS} FROM analytics_facts WHERE id = ANY(%b::text[])"
KEEP = f"""INSERT INTO analytics_facts ({COLUMNS}) SELECT * FROM unnest(
    %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
    %b::text[], %b::text[], %b::text[], %b::boolean[], %b::timestamptz[], %b::timestamptz[],
    %b::bigint[], %b::numeric[], %b::numeric[], %b::numeric[])
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in Fact._fields[5:])}"""
AMOUNTS = ("executions", "judged", "succeeded", "ended", "duration", "cost", "tokens", "api_calls")
ADD = f"""INSERT INTO analytics_totals AS t SELECT * FROM unnest(
    %b::text[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[],
    %b::bigint[], %b::numeric[], %b::numeric[], %b::numeric[], %b::numeric[])
    ON CONFLICT (slice, value, status, error_code) DO UPDATE SET
    {", ".join(f"{name} = t.{name} + excluded.{name}" for name in AMOUNTS)}"""
SPREAD = """INSERT INTO analytics_spread AS t SELECT * FROM unnest(
    %b::text[], %b::text[], %b::smallint[], %b::bigint[])
    ON CONFLICT (slice, value, octave) DO UPDATE SET ended = t.ended + excluded.ended"""


class Analytics:
    """The view. What is asked of it is in `projections.analytics.queries`."""

    name: ClassVar[str] = "analytics"
    schema: ClassVar[str] = SCHEMA
    gathers: ClassVar[float] = 0.05
    tables: ClassVar[tuple[str, ...]] = (
        "analytics_facts",
        "analytics_totals",
        "analytics_spread",
        "analytics_steps",
    )
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in (*COUNTED, *OF_STEPS))
    by_stream: ClassVar[bool] = False

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
        runs = await StepRuns.load(connection, page)
        for event in page:
            execution = aggregate_id(event.stream)
            facts[execution] = fact = after(facts.get(execution), event)
            runs.apply(fact, event)
        self._facts.update(facts)
        changed = [fact for fact in facts.values() if fact != before.get(fact.id)]
        await _write(connection, KEEP, changed)
        await _write(connection, ADD, _difference(before, facts, _totals))
        await _write(connection, SPREAD, _difference(before, facts, _spread))
        await runs.write(connection)
        while len(self._facts) > self._capacity:
            self._facts.popitem(last=False)

    async def _load(self, connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Fact]:
        known = {key: self._facts.pop(key) for key in ids if key in self._facts}
        if missing := [key for key in ids if key not in known]:
            # Never prepared: a plan made while the table was empty would read all of it for long.
            cursor = await connection.execute(LOAD, (missing,), prepare=False, binary=True)
            known.update((row[0], Fact(*row)) for row in await cursor.fetchall())
        return known


async def _write(connection: AsyncConnection, query: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        await connection.execute(query, columns, prepare=True)


Amounts = tuple[Any, ...]
Cells = Iterable[tuple[tuple[Any, ...], Amounts]]


def _difference(
    before: Mapping[str, Fact], now: Mapping[str, Fact], counted: Callable[[Fact, int], Cells]
) -> list[tuple[Any, ...]]:
    sums: dict[tuple[Any, ...], Amounts] = {}
    with localcontext(EXACT):
        for facts, sign in ((now, 1), (before, -1)):
            for fact in facts.values():
                for cell, amounts in counted(fact, sign):
                    known = sums.get(cell)
                    sums[cell] = tuple(map(add, known, amounts)) if known else amounts
    return [(*cell, *amounts) for cell, amounts in sums.items() if any(amounts)]


def _totals(fact: Fact, sign: int) -> Cells:
    amounts = (
        sign,
        sign * (fact.success is not None),
        sign * (fact.success is True),
        sign * (fact.duration is not None),
        sign * Decimal(fact.duration or 0),
        sign * fact.cost,
        sign * fact.tokens,
        sign * fact.api_calls,
    )
    yield (NONE, NONE, fact.status, fact.error_code), amounts
    for name in SLICES:
        yield (name, getattr(fact, name), fact.status, fact.error_code), amounts


def _spread(fact: Fact, sign: int) -> Cells:
    """Durations from 2^(n-2) up to 2^(n-1) ms share the octave n; that of 0 ms is 1."""
    if fact.duration is not None:
        octave = fact.duration.bit_length() + 1
        yield (NONE, NONE, octave), (sign,)
        for name in (*SLICES, "status"):
            yield (name, getattr(fact, name), octave), (sign,)
