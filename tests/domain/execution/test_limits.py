"""Limits, defaults and rules of executions, at the values where they begin to hold."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from domain.errors import IllegalTransition
from domain.execution.commands import DeclareSteps, RecordUsage, StartExecution
from domain.execution.commands import steps as step_commands
from domain.execution.commands.fork import ForkExecution
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import ExecutionErased
from domain.execution.types import DEFAULT_LEASE, StepPlan
from domain.execution.webhook_events import CHANGES_STATUS
from domain.types import LARGEST_COST
from tests.support.given import given
from tests.support.histories import CREATED, HISTORIES, RUNNING


def test_default_timeout_is_an_hour_and_default_lease_a_minute() -> None:
    assert given(CREATED).state.timeout == timedelta(hours=1)
    assert timedelta(minutes=1) == DEFAULT_LEASE


def test_execution_has_as_many_steps_as_allowed_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(step_commands, "MOST_STEPS", 3)
    plans = tuple(StepPlan(id=f"s-{number}", name="Step") for number in range(4))
    assert given(*RUNNING).when(DeclareSteps(steps=plans[:3])).error is None
    given(*RUNNING).when(DeclareSteps(steps=plans)).refused_field("steps")


def test_cost_may_add_up_to_the_largest_and_no_further() -> None:
    half = given(*RUNNING).when(RecordUsage(cost=Decimal(LARGEST_COST - 1)))
    before = half.then(*half.events)
    assert before.when(RecordUsage(cost=Decimal(1))).error is None
    before.when(RecordUsage(cost=Decimal(2))).refused_field("cost")


def test_refusal_of_an_erased_execution_does_not_offer_log_lines() -> None:
    completed = HISTORIES[next(status for status in HISTORIES if status == "completed")]
    for erased, offered in (((), True), ((ExecutionErased(reason="law"),), False)):
        outcome = given(*completed, *erased).when(StartExecution())
        assert isinstance(outcome.error, IllegalTransition)
        assert ("log" in outcome.error.members["allowedCommands"]) is offered


@pytest.mark.parametrize("rule", ["restart", "resume"])
def test_fork_has_the_rule_for_lost_leases_of_its_source(rule: str) -> None:
    created = CREATED.model_copy(update={"on_lease_lost": rule})
    fork, *_ = given().when(ForkExecution(version=1).of(given(created).state)).events
    assert isinstance(fork, ExecutionCreated)
    assert fork.on_lease_lost == rule


def test_events_count_as_a_change_of_the_status_exactly_if_they_change_it() -> None:
    for history in HISTORIES.values():
        for number, event in enumerate(history):
            before = given(*history[:number]).state
            after = given(*history[: number + 1]).state
            changes = before is None or before.status != after.status
            assert CHANGES_STATUS[event.type] == changes, event.type
