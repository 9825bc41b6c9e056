"""Analytics of steps equal those computed in Python from the step states of the domain."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given

from domain.execution.events.lifecycle import ExecutionCancelled, ExecutionFailed
from domain.execution.events.steps import (
    StepCompleted,
    StepFailed,
    StepsAdded,
    StepSkipped,
    StepStarted,
    UsageRecorded,
)
from domain.execution.forked import CarriedStep
from domain.execution.parts import ELSEWHERE, Step
from domain.execution.state import Execution
from domain.execution.types import ExecutionError, StepPlan, StepStatus
from domain.model import Event, Recorded, Versioned, replay
from domain.types import Assignee, StepAssignee
from projections.analytics.analytics_query import AnalyticsQuery, By
from projections.analytics.projection import Analytics
from projections.analytics.queries import AnalyticsQueries
from tests.projections.analytics.test_analytics import _rank, first_and_last_seen, key_of
from tests.support.examples import at_most
from tests.support.given import NOON, SECOND
from tests.support.histories import CREATED, RUNNING, WAITING
from tests.support.random_logs import followed, logs

few = at_most(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
BYS: list[tuple[By, ...]] = [
    ("step",),
    ("step", "assigneeType"),
    ("model", "step"),
    ("step", "status"),
    ("step", "day"),
    ("errorCode", "step"),
    ("service", "step"),
]
QUESTIONS = [
    AnalyticsQuery(by=by, only=only, since=since)
    for by, only, since in product(
        BYS,
        ({}, {"service": "s-1"}, {"customer": "c-2", "status": "skipped"}),
        (None, NOON + timedelta(days=1)),
    )
]


@dataclass
class Run:
    """A run of a step, taken from the states of the domain."""

    execution: Execution
    step: Step
    assignee: dict[str, str | None]
    used: list[UsageRecorded]


def runs(events: Sequence[Recorded]) -> list[Run]:
    """All runs of all steps of a log."""
    states: dict[str, Versioned[Any] | None] = {}
    found: dict[tuple[str, str], list[Run]] = {}
    for recorded in events:
        before = states.get(recorded.stream)
        after = states[recorded.stream] = replay(before, [recorded])
        assert after is not None
        known = before.state.steps if before else {}
        event = recorded.event
        for step in after.state.steps.values():
            several = found.setdefault((recorded.stream, step.id), [])
            begun = isinstance(event, StepStarted) and event.step == step.id
            if not several or (begun and known[step.id].status is not StepStatus.PENDING):
                several.append(Run(after.state, step, {}, []))
            run = several[-1]
            if begun or not run.assignee:
                run.assignee = assigned(after.state, step)
            run.execution, run.step = after.state, step
            if isinstance(event, UsageRecorded) and event.step == step.id:
                run.used.append(event)
    every = [run for several in found.values() for run in several]
    return [run for run in every if run.step.attempt != ELSEWHERE]


def assigned(execution: Execution, step: Step) -> dict[str, str | None]:
    executing, own = execution.assignee, step.assignee
    if own is None:
        kind, model = (executing.type, executing.model) if executing else (None, None)
    else:
        kind, model = own.type, own.model
        if executing and executing.type == own.type:
            model = model or executing.model
    return {"assigneeType": kind, "model": model}


def key(run: Run, by: By) -> str:
    match by:
        case "step":
            return run.step.name
        case "status":
            return run.step.status
        case "service":
            return run.execution.service
        case "day":
            return run.execution.created_at.date().isoformat()
        case "errorCode":
            return run.step.error.code if run.step.error else "UNKNOWN"
    return run.assignee[by] or ""


def duration(run: Run) -> int | None:
    if run.step.started_at is None or run.step.completed_at is None:
        return None
    return max((run.step.completed_at - run.step.started_at) // timedelta(milliseconds=1), 0)


def aggregate(several: Sequence[Run]) -> dict[str, Any]:
    total = len(several)
    durations = sorted(ms for run in several if (ms := duration(run)) is not None)
    codes = Counter(run.step.error.code for run in several if run.step.error)
    completed = sum(run.step.status is StepStatus.COMPLETED for run in several)
    used = [usage for run in several for usage in run.used]
    shares = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    return {
        "total": total,
        "statuses": {s.value: sum(run.step.status is s for run in several) for s in StepStatus},
        "successRate": completed / total if total else None,
        "resultSuccessRate": None,
        "duration": {
            "count": len(durations),
            "mean": round(Decimal(sum(durations)) / len(durations)) if durations else None,
            **{n: round(_rank(durations, share)) if durations else None for n, share in shares},
        },
        "totalCost": float(sum((usage.cost for usage in used), Decimal(0))),
        "tokens": sum(usage.tokens_used for usage in used),
        "apiCalls": sum(usage.api_calls for usage in used),
        "errorCodes": dict(sorted(codes.items())),
        **first_and_last_seen([run.execution.created_at for run in several]),
    }


def expected_answer(question: AnalyticsQuery, all_runs: Sequence[Run]) -> dict[str, Any]:
    meant = [run for run in all_runs if meets_conditions(question, run)]
    grouped: dict[tuple[str, ...], list[Run]] = {}
    for run in meant:
        if "errorCode" not in question.keys or run.step.status is StepStatus.FAILED:
            grouped.setdefault(tuple(key(run, by) for by in question.keys), []).append(run)
    keys = question.keys
    return {
        "of": "steps",
        **aggregate(meant),
        "by": list(keys) if len(keys) > 1 else keys[0],
        "groups": [
            {"key": key_of(group, keys), **aggregate(grouped[group])} for group in sorted(grouped)
        ],
    }


def meets_conditions(question: AnalyticsQuery, run: Run) -> bool:
    if question.since is not None and run.execution.created_at < question.since:
        return False
    for name, value in question.conditions:
        found = run.step.status if name == "status" else getattr(run.execution, name)
        if found != value:
            return False
    return True


async def check(conninfo: str, events: Sequence[Recorded], page: int) -> None:
    known = runs(events)
    async with followed(conninfo, Analytics(capacity=2), events, page) as connection:
        for question in QUESTIONS:
            answer = await AnalyticsQueries().answer(connection, question)
            assert answer.document == expected_answer(question, known), question


@few
@given(logs(), st.sampled_from([1, 3, 1000]))
def test_step_analytics_equal_those_computed_in_python(
    database: str, events: list[Recorded], page: int
) -> None:
    asyncio.run(check(database, events, page))


AGENT = Assignee(type="ai-agent", id="agent", name="Agent", model="m-1")
ANN = StepAssignee(type="human", id="ann")
BROKEN = ExecutionError(code="E1", message="broken")


def agent_execution() -> list[Recorded]:
    """An execution by an agent: it has one step of its own, run twice, and one of Ann's, added later."""
    created = CREATED.model_copy(update={"assignee": AGENT, "steps": (plan("a"),)})
    story = [
        created,
        StepStarted(step="a"),
        UsageRecorded(step="a", tokens_used=5, cost=Decimal("0.5")),
        StepFailed(step="a", error=BROKEN),
        StepStarted(step="a"),
        UsageRecorded(step="a", tokens_used=7, cost=Decimal("0.5")),
        StepsAdded(steps=(plan("b"),)),
        StepStarted(step="b", assignee=ANN),
        StepCompleted(step="a"),
        StepCompleted(step="b"),
    ]
    return recorded(*story)


def recorded(*story: Event) -> list[Recorded]:
    """The events of one execution, a second apart."""
    return [
        Recorded("execution/e", version, version, NOON + version * SECOND, event, "t")
        for version, event in enumerate(story, 1)
    ]


def plan(step: str) -> StepPlan:
    return StepPlan(id=step, name=step.upper())


@pytest.mark.anyio
@pytest.mark.parametrize("page", [1, 1000])
async def test_step_started_again_counts_as_a_run_with_its_own_time_and_cost(
    database: str, page: int
) -> None:
    question = AnalyticsQuery(by=("step", "assigneeType"))
    async with followed(database, Analytics(), agent_execution(), page) as connection:
        answer = await AnalyticsQueries().answer(connection, question)
    groups = {tuple(group["key"]): group for group in answer.document["groups"]}
    assert set(groups) == {("A", "ai-agent"), ("B", "human")}
    agents, anns = groups["A", "ai-agent"], groups["B", "human"]
    assert (agents["total"], agents["tokens"], agents["errorCodes"]) == (2, 12, {"E1": 1})
    assert agents["duration"]["max"] == 4_000
    assert (repr(agents["totalCost"]), anns["totalCost"]) == ("1", 0)
    assert (anns["total"], anns["duration"]["mean"]) == (1, 2_000)


BROKEN_AT_A = ExecutionError(code="E2", message="broken", recoverable=True, step="a")
WORK = (
    StepStarted(step="a"),
    StepStarted(step="b"),
    StepStarted(step="c"),
    StepCompleted(step="c"),
)
NEXT_RETRY = WAITING[-1]
ENDS = {
    "final": (
        (ExecutionFailed(error=BROKEN_AT_A, final=True, will_retry=False),),
        {"A": "failed", "B": "skipped", "C": "completed"},
    ),
    "to be retried": (
        (ExecutionFailed(error=BROKEN_AT_A, final=False, will_retry=True), NEXT_RETRY),
        {"A": "failed", "B": "pending", "C": "completed"},
    ),
    "final, retried by hand": (
        (ExecutionFailed(error=BROKEN_AT_A, final=True, will_retry=False), NEXT_RETRY),
        {"A": "failed", "B": "pending", "C": "completed"},
    ),
    "a step that is done": (
        (
            ExecutionFailed(
                error=BROKEN_AT_A.model_copy(update={"step": "c"}), final=True, will_retry=False
            ),
        ),
        {"A": "skipped", "B": "skipped", "C": "completed"},
    ),
    "cancelled": ((ExecutionCancelled(),), {"A": "skipped", "B": "skipped", "C": "completed"}),
}


async def by_step(database: str, story: list[Recorded], page: int) -> dict[str, Any]:
    async with followed(database, Analytics(), story, page) as connection:
        answer = await AnalyticsQueries().answer(connection, AnalyticsQuery(by="step"))
    return {group["key"]: group for group in answer.document["groups"]}


def statuses(group: dict[str, Any]) -> list[str]:
    return [status for status, number in group["statuses"].items() for _ in range(number)]


@pytest.mark.anyio
@pytest.mark.parametrize("page", [1, 1000])
@pytest.mark.parametrize("end", ENDS)
async def test_end_of_an_attempt_fails_the_named_run_and_leaves_the_others_open(
    database: str, end: str, page: int
) -> None:
    ending, expected_statuses = ENDS[end]
    declared = CREATED.model_copy(update={"steps": (plan("a"), plan("b"), plan("c"))})
    story = recorded(declared, *RUNNING[1:], *WORK, *ending)
    groups = await by_step(database, story, page)
    assert {name: statuses(group) for name, group in groups.items()} == {
        name: [status] for name, status in expected_statuses.items()
    }
    assert groups["A"]["errorCodes"] == ({"E2": 1} if expected_statuses["A"] == "failed" else {})
    assert groups["B"]["duration"]["count"] == (expected_statuses["B"] == "skipped")


FORKED = CREATED.model_copy(
    update={
        "assignee": AGENT,
        "steps": (plan("a"), plan("b"), plan("c")),
        "carried": (
            CarriedStep(step="a", status=StepStatus.COMPLETED, started_at=NOON, completed_at=NOON),
            CarriedStep(step="b", status=StepStatus.FAILED, error=BROKEN),
        ),
    }
)


@pytest.mark.anyio
@pytest.mark.parametrize("page", [1, 1000])
async def test_steps_copied_by_a_fork_count_from_their_next_start(database: str, page: int) -> None:
    begun = recorded(FORKED, *RUNNING[1:], StepSkipped(step="b"))
    assert set(await by_step(database, begun, page)) == {"C"}
    again = recorded(
        FORKED,
        *RUNNING[1:],
        StepStarted(step="a"),
        UsageRecorded(step="a", tokens_used=7),
        StepCompleted(step="a"),
    )
    groups = await by_step(database, again, page)
    assert {name: statuses(group) for name, group in groups.items()} == {
        "A": ["completed"],
        "C": ["pending"],
    }
    assert (groups["A"]["tokens"], groups["A"]["duration"]["max"]) == (7, 2_000)
