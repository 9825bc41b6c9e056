"""How the executions went: counts, rates, durations, cost, for all of them or group by group.

One narrow row per execution (`analytics_facts`), in one of two parts, and of these, running totals (`analytics_totals`)
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

from domain.eventlog.connection.pg_arrays import columns
from domain.execution.state import FINAL
from domain.model import Recorded, aggregate_id
from projections.analytics.row import COUNTED, Fact, after
from projections.analytics.slices import spread_moved, totals_moved
from projections.analytics.step_runs import OF_STEPS, RunCache, StepRuns
from projections.analytics.tables import (
    ADD,
    COMPARED,
    FACT_ARRAYS,
    LEAVE,
    LOAD,
    SCHEMA,
    SPREAD,
    SPREAD_ARRAYS,
    STORE,
    TABLES,
    TOTAL_ARRAYS,
    part,
)
from projections.engine.row_cache import RowCache

CAPACITY, RUNS = 4_000, 3
"""Facts that are kept between pages, and runs of steps for each of them, at some 400 bytes each."""


class Analytics:
    """The view. What is asked of it is in `projections.analytics.queries`."""

    name: ClassVar[str] = "analytics"
    schema: ClassVar[str] = SCHEMA
    gathers: ClassVar[float] = 0.05
    tables: ClassVar[tuple[str, ...]] = TABLES
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in (*COUNTED, *OF_STEPS))
    compared: ClassVar[Mapping[str, str]] = COMPARED

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._facts = RowCache(capacity, LOAD, _facts)
        self._runs = RunCache(RUNS * capacity)

    def forget(self) -> None:
        """Drop what is kept between pages."""
        self._facts.clear()
        self._runs.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Fold the page onto the facts it touches; the totals move by the difference."""
        before = await self._facts.load(connection, page)
        facts = dict(before)
        runs = await StepRuns.load(connection, page, self._runs, before)
        for event in page:
            execution = aggregate_id(event.stream)
            facts[execution] = fact = after(facts.get(execution), event)
            runs.apply(execution, fact, event)
        changed = {key: fact for key, fact in facts.items() if fact != before.get(key)}
        replaced = [before[key] for key in changed if key in before]
        await _leave(connection, before, changed)
        await _write(connection, STORE, FACT_ARRAYS, list(changed.values()))
        await runs.write(connection)
        totals = totals_moved(replaced, changed.values())
        spread = spread_moved(replaced, changed.values())
        await _write(connection, ADD, TOTAL_ARRAYS, totals)
        await _write(connection, SPREAD, SPREAD_ARRAYS, spread)
        ended = {key for key, fact in facts.items() if fact.status in FINAL}
        # Hardly ever does anything follow an end.
        self._facts.put({key: None if key in ended else fact for key, fact in facts.items()})
        runs.put_into(self._runs, ended)


def _facts(rows: Sequence[tuple[Any, ...]]) -> dict[str, Fact]:
    return {id_: Fact(*fact) for id_, *fact in rows}


async def _leave(
    connection: AsyncConnection, before: Mapping[str, Fact], changed: Mapping[str, Fact]
) -> None:
    """Delete the facts that go to the other part: those of executions that end, or go on after their end."""
    left: dict[str, list[int]] = {}
    for key, fact in changed.items():
        if key in before and (table := part(before[key])) != part(fact):
            left.setdefault(table, []).append(fact.created)
    for table, keys in left.items():
        # Never prepared: a plan made while the table was empty would read all of it for long.
        await connection.execute(LEAVE.format(table=table), (keys,), prepare=False)


async def _write(
    connection: AsyncConnection, query: str, kinds: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    if rows:
        await connection.execute(query, columns(kinds, rows), prepare=True)
