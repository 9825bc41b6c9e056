"""Analytics equal those computed in Python from the executions, whichever tables answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any, get_args

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given
from psycopg import AsyncConnection

from domain.execution.events.lifecycle import ExecutionCompleted, ExecutionStarted
from domain.execution.events.steps import UsageRecorded
from domain.execution.state import Execution
from domain.execution.types import Status
from domain.json_forms import format_time
from domain.model import Recorded
from projections.analytics.analytics_query import AnalyticsQuery, By
from projections.analytics.projection import Analytics
from projections.analytics.queries import AnalyticsQueries
from tests.support.examples import at_most
from tests.support.given import NOON, SECOND
from tests.support.histories import CREATED, RESULT
from tests.support.random_logs import followed, logs, rows, states

few = at_most(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
TABLES = ("analytics_facts", "analytics_totals", "analytics_spread", "analytics_steps")
EXECUTION_KEYS: list[By] = [key for key in get_args(By) if key != "step"]
PAIRS: list[tuple[By, By]] = [("service", "day"), ("errorCode", "model"), ("week", "status")]
QUESTIONS = [
    AnalyticsQuery(by=by, only=only, since=since)
    for by, only, since in product(
        (None, *EXECUTION_KEYS, *PAIRS),
        (
            {},
            {"service": "s-1"},
            {"customer": "c-2"},
            {"status": "completed"},
            {"service": "s-1", "status": "failed"},
            {"order": "o-2"},
            {"service": "s-2", "customer": "c-1"},
        ),
        (None, NOON + timedelta(days=1)),
    )
]
KEYS: dict[By, Callable[[Execution], str | None]] = {
    "service": lambda e: e.service,
    "assignee": lambda e: e.assignee.id if e.assignee else None,
    "customer": lambda e: e.customer,
    "provider": lambda e: e.provider,
    "assigneeType": lambda e: e.assignee.type if e.assignee else None,
    "model": lambda e: e.assignee.model if e.assignee else None,
    "hour": lambda e: f"{e.created_at:%Y-%m-%dT%H}:00Z",
    "week": lambda e: f"{e.created_at:%G-W%V}",
    "day": lambda e: e.created_at.date().isoformat(),
    "status": lambda e: e.status,
    "errorCode": lambda e: e.error.code if e.error else "UNKNOWN",
}


def aggregate(executions: Sequence[Execution]) -> dict[str, Any]:
    """The analytics of some executions, computed in Python."""
    total = len(executions)
    durations = sorted(ms for e in executions if (ms := _duration(e)) is not None)
    judged = [e.success for e in executions if e.success is not None]
    failed = [e for e in executions if e.status is Status.FAILED]
    codes = Counter(e.error.code for e in failed if e.error)
    completed = sum(e.status is Status.COMPLETED for e in executions)
    return {
        "total": total,
        "statuses": {s.value: sum(e.status is s for e in executions) for s in Status},
        "successRate": completed / total if total else None,
        "resultSuccessRate": sum(judged) / len(judged) if judged else None,
        "duration": {
            "count": len(durations),
            "mean": round(Decimal(sum(durations)) / len(durations)) if durations else None,
            **{
                name: round(_rank(durations, share)) if durations else None
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            },
        },
        "totalCost": float(sum((e.used.cost for e in executions), Decimal(0))),
        "tokens": sum(e.used.tokens_used for e in executions),
        "apiCalls": sum(e.used.api_calls for e in executions),
        "errorCodes": dict(sorted(codes.items())),
        **first_and_last_seen([e.created_at for e in executions]),
    }


def first_and_last_seen(times: Sequence[datetime]) -> dict[str, str | None]:
    return {
        "firstSeen": format_time(min(times)) if times else None,
        "lastSeen": format_time(max(times)) if times else None,
    }


def _duration(execution: Execution) -> int | None:
    if execution.started_at is None or execution.completed_at is None:
        return None
    return max((execution.completed_at - execution.started_at) // timedelta(milliseconds=1), 0)


def _rank(durations: Sequence[int], share: float) -> float:
    place = share * (len(durations) - 1)
    low, fraction = durations[int(place)], place - int(place)
    return low + fraction * (durations[int(place) + 1] - low) if fraction else low


def expected_answer(question: AnalyticsQuery, executions: Sequence[Execution]) -> dict[str, Any]:
    meant = [
        execution
        for execution in executions
        if all(getattr(execution, name) == value for name, value in question.conditions)
        and (question.since is None or execution.created_at >= question.since)
    ]
    answer = aggregate(meant)
    if keys := question.keys:
        grouped: dict[tuple[str, ...], list[Execution]] = {}
        for execution in meant:
            if "errorCode" not in keys or execution.status is Status.FAILED:
                group = tuple(KEYS[key](execution) or "" for key in keys)
                grouped.setdefault(group, []).append(execution)
        answer["by"] = list(keys) if len(keys) > 1 else keys[0]
        answer["groups"] = [
            {"key": key_of(group, keys), **aggregate(grouped[group])} for group in sorted(grouped)
        ]
    return answer


def key_of(group: Sequence[str], keys: Sequence[By]) -> Any:
    shown = [part or None for part in group]
    return shown if len(keys) > 1 else shown[0]


async def check(
    conninfo: str, events: Sequence[Recorded], page: int, questions: Sequence[AnalyticsQuery]
) -> None:
    executions = [versioned.state for versioned in states(events)]
    async with followed(conninfo, Analytics(capacity=2), events, page) as connection:
        for question in questions:
            answer = await AnalyticsQueries().answer(connection, question)
            assert answer.document == expected_answer(question, executions), question


@few
@given(logs(), st.sampled_from([1, 3, 1000]), st.lists(st.sampled_from(QUESTIONS), min_size=5))
def test_analytics_equal_those_computed_in_python(
    database: str, events: list[Recorded], page: int, questions: list[AnalyticsQuery]
) -> None:
    asyncio.run(check(database, events, page, questions))


@few
@given(logs(), st.integers(1, 20))
def test_page_size_changes_no_table(database: str, events: list[Recorded], page: int) -> None:
    async def tables(size: int) -> list[Any]:
        async with followed(database, Analytics(), events, size) as connection:
            facts, totals, spread, runs = [await rows(connection, table) for table in TABLES]
            totals, spread = [row for row in totals if row[4]], [row for row in spread if row[3]]
            return [facts, totals, spread, runs]

    assert asyncio.run(tables(page)) == asyncio.run(tables(1000))


def write_executions(durations: Sequence[int]) -> list[Recorded]:
    """A log of executions of these durations in milliseconds, one after the other."""
    log: list[Recorded] = []
    for number, duration in enumerate(durations):
        end = NOON + timedelta(milliseconds=duration)
        story = (
            (CREATED, NOON),
            (ExecutionStarted(), NOON),
            (UsageRecorded(cost=Decimal("0.1"), tokens_used=3), NOON),
            (ExecutionCompleted(success=number % 2 == 0, result=RESULT), end),
        )
        for version, (event, at) in enumerate(story, 1):
            place = len(log) + 1
            log.append(Recorded(f"execution/e-{number}", version, place, at, event, "t"))
    return log


@few
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=60))
@example([0])
@example([0, 1, 1, 2, 3, 4, 7, 8, 15, 16])
@example([5] * 50)
def test_percentiles_by_rank_equal_those_by_sorting(database: str, durations: list[int]) -> None:
    async def both() -> tuple[Any, Any]:
        async with followed(database, Analytics(), write_executions(durations)) as connection:
            ranked = await AnalyticsQueries().answer(connection, AnalyticsQuery(by="day"))
            everything = AnalyticsQuery(by="day", since=NOON - SECOND)
            return ranked.document, (
                await AnalyticsQueries().answer(connection, everything)
            ).document

    ranked, sorted_ = asyncio.run(both())
    assert ranked == sorted_
    assert ranked["duration"]["max"] == max(durations)


@pytest.fixture
def three() -> list[Recorded]:
    return write_executions([1000, 2000, 6000])


@pytest.mark.anyio
async def test_costs_are_added_exactly(database: str) -> None:
    async with followed(database, Analytics(), write_executions([1] * 30)) as connection:
        answer = await AnalyticsQueries().answer(connection, AnalyticsQuery())
    assert (answer.document["totalCost"], answer.document["tokens"]) == (3.0, 90)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("scope", "total"),
    [({"customer": "c-1"}, 3), ({"customer": "c-2"}, 0), ({"provider": "p-1"}, 3)],
)
async def test_scope_limits_every_query(
    database: str, three: list[Recorded], scope: Mapping[str, str], total: int
) -> None:
    async with followed(database, Analytics(), three) as connection:
        for only in ({}, {"customer": "c-1"}, {"service": "s-1"}):
            question = AnalyticsQuery(by="day", only=only, scope=scope)
            assert (await AnalyticsQueries().answer(connection, question)).document[
                "total"
            ] == total


@pytest.mark.anyio
async def test_answer_is_cached_until_the_view_moves_on(
    database: str, three: list[Recorded]
) -> None:
    asked, view = AnalyticsQueries(), Analytics()
    async with followed(database, view, three[:4]) as connection:
        first = await asked.answer(connection, AnalyticsQuery())
        await view.apply(connection, three[4:])
        assert (await asked.answer(connection, AnalyticsQuery())) is first
        await move(connection, 12)
        second = await asked.answer(connection, AnalyticsQuery())
    assert (first.document["total"], first.position) == (1, 0)
    assert (second.document["total"], second.position) == (3, 12)


async def move(connection: AsyncConnection, position: int) -> None:
    await connection.execute("UPDATE bookmarks SET position = %s", (position,))
