"""Facts and runs are in the partition of their status, and queries on ended ones use indexes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given
from psycopg import AsyncConnection

from domain.execution import state
from domain.model import Recorded
from projections.analytics import creation_times, percentiles, step_tables
from projections.analytics.analytics_query import COLUMNS, RANKED, AnalyticsQuery, source
from projections.analytics.projection import Analytics
from projections.analytics.queries import AnalyticsQueries
from projections.analytics.tables import ENDED, LOAD, OPEN, SCHEMA
from tests.support.examples import at_most
from tests.support.random_logs import followed, logs, states

few = at_most(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
TABLES_OF_ROWS = (
    "SELECT created, substr(tableoid::regclass::text, 17) FROM analytics_facts ORDER BY created"
)
EVENTS = """INSERT INTO events SELECT n, n % 10 + 1, now(), 'execution/' || n / 10, 'type', '', ''
    FROM generate_series(10, 10009) AS n"""
SLOW = ("seqscan", "hashjoin", "mergejoin", "sort")
STEPS = (
    "SELECT created, step, run, status, substr(tableoid::regclass::text, 17) FROM analytics_steps"
)


@few
@given(logs(), st.integers(1, 20))
def test_facts_and_runs_are_in_the_partitions_of_their_statuses(
    database: str, events: list[Recorded], page: int
) -> None:
    first = {event.stream: event.position for event in events if event.version == 1}
    expected = sorted(
        (first[f"execution/{v.state.id}"], "ended" if v.state.status in state.FINAL else "open")
        for v in states(events)
    )

    async def check() -> None:
        async with followed(database, Analytics(capacity=2), events, page) as connection:
            assert await (await connection.execute(TABLES_OF_ROWS)).fetchall() == expected
            runs = await (await connection.execute(STEPS)).fetchall()
        assert len({run[:3] for run in runs}) == len(runs)
        for *_, status, part in runs:
            assert part == ("open" if status in state.OPEN else "done")

    asyncio.run(check())


def test_partitions_of_open_executions_have_no_index_of_changing_columns() -> None:
    indexes = [line for line in SCHEMA.splitlines() if "INDEX" in line and "_open" in line]
    assert len(indexes) == 1 + 7 + 1 + 1
    for line in indexes:
        assert not any(name in line for name in ("status", "duration", "cost", "tokens")), line


@pytest.mark.anyio
async def test_queries_use_indexes(database: str) -> None:
    async with followed(database, Analytics(), []) as connection:
        for name in RANKED:
            column = COLUMNS[name]
            meant = f"{column} = wanted.value"
            ranked = percentiles.BY_RANK.format(where=meant)
            assert f"analytics_durations_by_{column}" in await _plan(connection, ranked, 3)
            if name != "day":
                for part in (ENDED, *(() if name == "status" else (OPEN,))):
                    looked_up = creation_times.SEEN_EACH.format(table=part, meant=meant)
                    shown = await _plan(connection, looked_up, 1)
                    assert shown.count(f"{part}_of_{column}") == 2, shown
        for name in ("service", "customer", "provider", "order"):
            found = await _of(connection, {name: "x"})
            assert f"{ENDED}_of_{name}" in found, found
            assert f"{OPEN}_of_{name}" in found, found
            assert "analytics_steps_done_key" in found, found


@pytest.mark.anyio
@pytest.mark.parametrize("analyzed", [False, True])
async def test_facts_are_found_without_reading_the_log(database: str, analyzed: bool) -> None:
    async with followed(database, Analytics(), []) as connection:
        await connection.execute(EVENTS)
        if analyzed:
            await connection.execute("ANALYZE events")
        wanted = [str(number) for number in range(5, 25)]
        query = f"EXPLAIN {LOAD}".encode()
        cursor = await connection.execute(query, (wanted,), prepare=False)
        plan = "\n".join(row[0] for row in await cursor.fetchall())
    assert "events_pkey" in plan
    assert "Seq Scan on events" not in plan


IMPORTED = (
    """INSERT INTO analytics_facts SELECT n * 32, now(), now(), n, 'order-' || n, 'loans', 'acme', 'bank', '', '',
    '', '2026-11-22', 'completed', '', true, 0, 0, 0 FROM generate_series(1, 10000) AS n""",
    """INSERT INTO analytics_steps (created, created_at, started_at, duration, run, own, cut_short, step, name,
    assignee, assignee_type, model, kind, status, error_code, cost, tokens, api_calls)
    SELECT created, created_at, created_at, k, 1, true, false, k, k, '', '', '', '', 'completed', '', 0, 0, 0
    FROM analytics_facts CROSS JOIN generate_series(1, 12) AS k""",
    # As autovacuum does it, which never analyzes the partitioned tables themselves.
    f"ANALYZE {ENDED}, {step_tables.DONE}",
)
"""A log whose executions all have one service, and 12 steps each."""


@pytest.mark.anyio
async def test_facts_are_not_looked_up_for_each_run_of_a_step(database: str) -> None:
    async with followed(database, Analytics(), []) as connection:
        for statement in IMPORTED:
            await connection.execute(statement.encode())
        for only in ({"service": "loans"}, {"customer": "acme"}, {"provider": "bank"}):
            plan = await _of(connection, only, without=())
            assert f"{ENDED}_key" not in plan, plan
            answer = await AnalyticsQueries().answer(
                connection, AnalyticsQuery(by="step", only=only)
            )
            assert answer.document["total"] == 120_000
            assert {group["total"] for group in answer.document["groups"]} == {10_000}


async def _of(
    connection: AsyncConnection, only: Mapping[str, str], without: Sequence[str] = SLOW
) -> str:
    """The plan of the query that finds the runs of steps of some executions."""
    values: list[Any] = []
    question = AnalyticsQuery(by="step", only=only)
    table, condition = source(question, values)
    query = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608 - made by `source`
    return await _plan(connection, query, values, without)


async def _plan(
    connection: AsyncConnection,
    query: str,
    values: int | list[Any],
    without: Sequence[str] = SLOW,
) -> str:
    bound = [[] for _ in range(values)] if isinstance(values, int) else values
    async with connection.transaction():
        for way in without:
            await connection.execute(f"SET LOCAL enable_{way} = off".encode())
        cursor = await connection.execute(f"EXPLAIN {query}".encode(), bound, prepare=False)
        return "\n".join(row[0] for row in await cursor.fetchall())
