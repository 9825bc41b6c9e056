"""A run of a step: the row that analytics keeps of it, and how events change that row."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from domain.execution.events.claims import ExecutionReleased
from domain.execution.events.lifecycle import ExecutionFailed, RetryScheduled
from domain.execution.events.steps import StepStarted, UsageRecorded
from domain.execution.state import OPEN
from domain.execution.types import StepPlan, StepStatus
from domain.json_forms import in_milliseconds
from domain.model import Event
from domain.types import EXACT, StepAssignee
from projections.analytics.row import NONE, Fact

ELSEWHERE = 0
"""The number of a run that was done in the execution from which this one was forked."""


class StepRun(NamedTuple):
    """The row of one run of a step in `analytics_steps`.

    `created` is the position of the first event of its execution. `own`: the step has an assignee of its own, else it has
    that of its execution. `cut_short`: the run was skipped because its execution ended.
    """

    created: int
    step: str
    run: int
    name: str
    created_at: datetime
    own: bool
    assignee: str
    assignee_type: str
    model: str
    kind: str
    status: str
    error_code: str
    cut_short: bool
    started_at: datetime | None
    duration: int | None
    cost: Decimal
    tokens: Decimal
    api_calls: Decimal


def declare(fact: Fact, plan: StepPlan, elsewhere: StepStatus | None = None) -> StepRun:
    """Return the run of a declared step. `elsewhere` is the status that a forked execution took over for it, if any."""
    run = new(fact, plan.id, plan.name, plan.assignee, _kind(plan))
    return run if elsewhere is None else run._replace(run=ELSEWHERE, status=elsewhere)


def after_end(run: StepRun, event: Event, when: datetime) -> StepRun:
    """Return the run after its attempt or execution has ended, or a retry was scheduled."""
    if isinstance(event, RetryScheduled):
        return pending_again(run) if run.cut_short else run
    if run.status not in OPEN:
        return run
    if isinstance(event, ExecutionReleased):
        return pending_again(run) if run.status == StepStatus.RUNNING else run
    if isinstance(event, ExecutionFailed):
        if run.step == event.error.step:
            return end(run, StepStatus.FAILED, when, error_code=event.error.code)
        if not event.final:
            return pending_again(run)
    return end(run, StepStatus.SKIPPED, when, cut_short=True)


def _kind(source: StepPlan | StepStarted) -> str:
    return getattr(source, "kind", None) or NONE


def new(
    fact: Fact,
    step: str,
    name: str,
    own: StepAssignee | None,
    kind: str,
    *,
    started_at: datetime | None = None,
) -> StepRun:
    """Return the first run of a step, with the assignee `own` or else that of its execution; running if it has started."""
    run = StepRun(
        fact.created,
        step,
        1,
        name,
        fact.created_at,
        own is not None,
        fact.assignee,
        fact.assignee_type,
        fact.model,
        kind,
        StepStatus.PENDING if started_at is None else StepStatus.RUNNING,
        NONE,
        False,
        started_at,
        None,
        Decimal(0),
        Decimal(0),
        Decimal(0),
    )
    return run if own is None else run._replace(**_assignee(fact, own))


def _assignee(fact: Fact, own: StepAssignee) -> dict[str, Any]:
    """Return the assignee of a step; missing members come from the execution's assignee if that has the same type."""
    same = own.type == fact.assignee_type
    return {
        "own": True,
        "assignee": own.id or (fact.assignee if same else NONE),
        "assignee_type": own.type,
        "model": own.model or (fact.model if same else NONE),
    }


def start(run: StepRun | None, fact: Fact, event: StepStarted, when: datetime) -> StepRun:
    """Return the run after a step has started: its first run, its pending run, or a new run of a step that had ended."""
    if run is None:
        name = event.name or event.step
        return new(fact, event.step, name, event.assignee, _kind(event), started_at=when)
    kind = _kind(event) or run.kind
    started = new(fact, event.step, event.name or run.name, event.assignee, kind, started_at=when)
    if event.assignee is None and run.own:
        started = started._replace(
            own=True, assignee=run.assignee, assignee_type=run.assignee_type, model=run.model
        )
    if run.status != StepStatus.PENDING:
        return started._replace(run=run.run + 1)
    return started._replace(run=run.run, cost=run.cost, tokens=run.tokens, api_calls=run.api_calls)


def end(run: StepRun, status: StepStatus, when: datetime, **changes: Any) -> StepRun:
    """Return the run after it has ended with a status."""
    started = run.started_at
    duration = None if started is None else max(in_milliseconds(when - started), 0)
    defaults: dict[str, Any] = {"error_code": NONE, "cut_short": False}
    return run._replace(status=status, duration=duration, **(defaults | changes))


def pending_again(run: StepRun) -> StepRun:
    """Return the run as pending, as if it had not started; what it used is kept."""
    return run._replace(status=StepStatus.PENDING, started_at=None, duration=None, cut_short=False)


def add_usage(run: StepRun, usage: UsageRecorded) -> StepRun:
    """Return the run with the usage of an event added."""
    return run._replace(
        cost=EXACT.add(run.cost, usage.cost),
        tokens=run.tokens + usage.tokens_used,
        api_calls=run.api_calls + usage.api_calls,
    )
