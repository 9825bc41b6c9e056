"""The view of analytics: it keeps what counts, rates, durations and costs of executions are computed from.

There is one narrow row for each execution (`analytics_facts`), in one of two partitions, and for each run of a step
(`analytics_steps`). Running totals of the facts (`analytics_totals`) are kept in slices: all executions, and those of one
service, assignee, type of assignee, model, customer, provider or day. A question about a slice reads only its few
totals. The number of durations in each octave is kept as well (`analytics_spread`): a rank is found by its octave and
from there along an index, so percentiles are exact. Other questions read the facts that they cover.
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
"""Facts that are cached between pages, and runs of steps for each of them, of about 400 bytes each."""


class Analytics:
    """The view of analytics. `projections.analytics.queries` answers questions from it."""

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
        """Drop the facts and runs cached between pages."""
        self._facts.clear()
        self._runs.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Apply the page to the facts of its executions, and add the differences to the totals."""
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
        # Ended executions are not cached, because further events are rare.
        self._facts.put({key: None if key in ended else fact for key, fact in facts.items()})
        runs.put_into(self._runs, ended)


def _facts(rows: Sequence[tuple[Any, ...]]) -> dict[str, Fact]:
    return {id_: Fact(*fact) for id_, *fact in rows}


async def _leave(
    connection: AsyncConnection, before: Mapping[str, Fact], changed: Mapping[str, Fact]
) -> None:
    """Delete the facts that change their partition, because the execution ended, or continues after its end."""
    removed: dict[str, list[int]] = {}
    for key, fact in changed.items():
        if key in before and (table := part(before[key])) != part(fact):
            removed.setdefault(table, []).append(fact.created)
    for table, keys in removed.items():
        # Not prepared: a plan made while the table was empty would scan the whole table later.
        await connection.execute(LEAVE.format(table=table), (keys,), prepare=False)


async def _write(
    connection: AsyncConnection, query: str, kinds: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    if rows:
        await connection.execute(query, columns(kinds, rows), prepare=True)
