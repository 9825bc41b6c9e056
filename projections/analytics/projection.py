"""How the executions went: counts, rates, durations, cost, for all of them or group by group.

One narrow row per execution (`analytics_facts`), and of these, running totals (`analytics_totals`)
in slices: all executions, and those of one service, assignee, type of assignee, model, customer,
provider or day. A question about one slice reads its few totals, however many executions there are.
Beside them stands how many durations are in each octave (`analytics_spread`): so a rank is found in
its octave and from there along an index, and percentiles are exact. Other questions read the facts
they mean. Of steps there is a narrow row per run (`analytics_steps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection

from domain.eventlog.pg_arrays import columns, placeholders
from domain.execution.state import FINAL
from domain.model import Recorded, aggregate_id
from projections.analytics import step_runs
from projections.analytics.row import COUNTED, Fact, after
from projections.analytics.slices import SLICES, spread_moved, totals_moved
from projections.analytics.step_runs import OF_STEPS, RunCache, StepRuns
from projections.engine.row_cache import RowCache

CAPACITY, RUNS = 4_000, 3
"""Facts that are kept between pages, and runs of steps for each of them, at some 400 bytes each."""

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
FACT_ARRAYS = (
    *("text",) * 11,
    "boolean",
    "timestamptz",
    "timestamptz",
    "bigint",
    *("numeric",) * 3,
)
KEEP = f"""INSERT INTO analytics_facts ({COLUMNS}) SELECT * FROM unnest({placeholders(FACT_ARRAYS)})
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in Fact._fields[5:])}"""
AMOUNTS = ("executions", "judged", "succeeded", "ended", "duration", "cost", "tokens", "api_calls")
TOTAL_ARRAYS = (*("text",) * 4, *("bigint",) * 4, *("numeric",) * 4)
ADD = f"""INSERT INTO analytics_totals AS t SELECT * FROM unnest({placeholders(TOTAL_ARRAYS)})
    ON CONFLICT (slice, value, status, error_code) DO UPDATE SET
    {", ".join(f"{name} = t.{name} + excluded.{name}" for name in AMOUNTS)}"""
SPREAD_ARRAYS = ("text", "text", "bigint", "bigint")
SPREAD = f"""INSERT INTO analytics_spread AS t SELECT * FROM unnest({placeholders(SPREAD_ARRAYS)})
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
    compared: ClassVar[Mapping[str, str]] = {
        "analytics_facts": "true",
        "analytics_steps": "true",
        "analytics_totals": "(executions, judged, succeeded, ended, duration, cost, tokens, api_calls)"
        " <> (0, 0, 0, 0, 0, 0, 0, 0)",
        "analytics_spread": "ended <> 0",
    }

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._facts = RowCache(capacity, LOAD, lambda rows: {row[0]: Fact(*row) for row in rows})
        self._runs = RunCache(RUNS * capacity)

    def forget(self) -> None:
        """Drop what is kept between pages."""
        self._facts.clear()
        self._runs.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Fold the page onto the facts it touches; the totals move by the difference."""
        before = await self._facts.load(connection, page)
        facts = dict(before)
        runs = await StepRuns.load(connection, page, self._runs)
        for event in page:
            execution = aggregate_id(event.stream)
            facts[execution] = fact = after(facts.get(execution), event)
            runs.apply(fact, event)
        changed = {key: fact for key, fact in facts.items() if fact != before.get(key)}
        replaced = [before[key] for key in changed if key in before]
        await _write(connection, KEEP, FACT_ARRAYS, list(changed.values()))
        await runs.write(connection)
        totals = totals_moved(replaced, changed.values())
        spread = spread_moved(replaced, changed.values())
        await _write(connection, ADD, TOTAL_ARRAYS, totals)
        await _write(connection, SPREAD, SPREAD_ARRAYS, spread)
        ended = {key for key, fact in facts.items() if fact.status in FINAL}
        # Hardly ever does anything follow an end.
        self._facts.keep({key: None if key in ended else fact for key, fact in facts.items()})
        runs.keep(self._runs, ended)


async def _write(
    connection: AsyncConnection, query: str, kinds: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    if rows:
        await connection.execute(query, columns(kinds, rows), prepare=True)
