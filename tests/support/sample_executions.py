"""Forty executions that differ in every field by which lists can be filtered."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
)
from domain.execution.events.progress import CheckpointSaved, ProgressUpdated
from domain.execution.events.steps import StepCompleted, StepStarted, UsageRecorded
from domain.execution.types import ExecutionError
from tests.support.event_writer import Happening, completed, created, started

TAGS = ("eu", "us", "e", 'qu"ote', "back\\slash", "a,b", "{brace}")
ATTRIBUTES: tuple[dict[str, Any], ...] = (
    {},
    {"region": "north", "amount": 5},
    {"region": "n", "amount": 5.5, "deep": {"x": 1, "y": {"z": "eu"}}},
    {"region": 7, "amount": "5", "flag": True},
    {"region": None, "amount": -3, "flag": False, "environment": "test"},
    {"region": ["north"], "amount": 10**15, "version": "2"},
    {"region": "Ñandú", "amount": 0, "deep": {"x": "1"}},
    {"amount": -(2**63), "deep.x": 2, "deep": {"x": 1, "y.z": "e"}, "gen_ai.request.model": "m-1"},
    {"gen_ai.request": {"model": "m-2"}, "deep": {"y": {"z": 1}}, "deep.y": {"z": "eu"}},
    {"gen_ai": {"request.model": "m-3", "request": {"model": "m-1"}}, 'a"b[c].d': "x" * 2_000},
)


POLICIES: tuple[dict[str, Any] | None, ...] = (
    None,
    {"maxRetries": 0, "backoff": "linear", "initialDelay": 0, "maxDelay": 5_000},
    {
        "maxRetries": 3,
        "backoff": "exponential",
        "initialDelay": 1_000,
        "maxDelay": 60_000,
        "jitter": "full",
    },
)


def sample() -> list[Happening]:
    random = Random(5)
    return [happening for number in range(40) for happening in _history(f"e-{number:02}", random)]


def _history(name: str, random: Random) -> Iterator[Happening]:
    assignee = {"type": random.choice(["human", "system"]), "id": "a-1", "name": "Ann, Dr."}
    number = int(name[-2:])
    origin = {"execution": f"e-{number % 3:02}", "version": number % 4 + 1}
    yield created(
        name,
        forked_from=None if number % 5 else origin,
        order=f"order-{random.randrange(9)}",
        service=f"s-{random.randrange(3)}",
        workflow=random.choice([None, "w-1"]),
        customer=random.choice(["c-1", "c-10", "c-2"]),
        priority=random.choice(["low", "normal", "high", "urgent"]),
        timeout=random.choice([None, 1_000, 3_600_000]),
        assignee=random.choice([None, assignee, {**assignee, "model": "m-1"}]),
        tags=random.sample(TAGS, random.randrange(3)),
        metadata=random.choice(ATTRIBUTES),
        retry_policy=random.choice(POLICIES),
        steps_total=random.randrange(3),
    )
    if random.random() < 0.8:
        yield from started(name)
        yield Happening(name, StepStarted(step="one", input="secret"))
        yield Happening(name, ProgressUpdated(progress=random.choice([0, 50, 33.3])))
        cost = Decimal(random.randrange(100)) / 100
        yield Happening(name, UsageRecorded(tokens_used=random.randrange(3), cost=cost))
        yield from random.choice([_unfinished, _done, _failed, _cancelled, _changed])(name)


def _unfinished(name: str) -> Iterator[Happening]:
    if int(name[-1]) % 2:
        yield from _paused(name)


def _done(name: str) -> Iterator[Happening]:
    yield Happening(name, StepCompleted(step="one"))
    yield completed(name)


def _failed(name: str) -> Iterator[Happening]:
    error = ExecutionError(
        code="E_TIMEOUT",
        message="secret",
        step="one",
        recoverable=name > "e-2",
        retry_count=int(name[-1]),
    )
    yield Happening(name, ExecutionFailed(error=error, final=True, will_retry=False))


def _cancelled(name: str) -> Iterator[Happening]:
    yield Happening(name, ExecutionCancelled(reason="secret"))


def _changed(name: str) -> Iterator[Happening]:
    yield Happening(name, ExecutionUpdated(tags=("changed",), metadata={"region": "south"}))
    yield from _paused(name)
    yield Happening(name, ExecutionResumed(checkpoint="cp-1"))


def _paused(name: str) -> Iterator[Happening]:
    yield Happening(name, CheckpointSaved(checkpoint="cp-1", state={"secret": 1}))
    yield Happening(name, ExecutionPaused(checkpoint="cp-1", reason="secret"))
