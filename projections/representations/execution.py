"""The JSON document of an execution, as plain Python values.

Every answer to a command has this document, so the functions are written for speed. Sealed content stays in its place as
a `Ciphertext`, so that it cannot be confused with content that clients wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from domain.execution.parts import (
    Attempt,
    Checkpoint,
    Step,
)
from domain.execution.state import Execution
from domain.json_forms import MILLISECOND, format_time, in_milliseconds
from domain.model import Versioned
from domain.sealing import Ciphertext
from projections.representations.client_json import plain_json
from projections.representations.step import step_document, step_json
from projections.representations.values import (
    assignee_document,
    error_document,
    milliseconds,
    policy_document,
    shortest_number,
    stop_document,
    totals_document,
    webhook_document,
)

LATEST_CHECKPOINTS = 10
"""Checkpoints that the document shows, the latest ones."""
ERASED = {"erased": True}


def document(
    versioned: Versioned[Execution],
    now: datetime,
    steps: Iterable[Step] | None = None,
    heard_at: datetime | None = None,
) -> dict[str, Any]:
    """Return the document of an execution. If it has not ended, its durations count until `now`.

    `steps` are the steps to include; None for all. `heard_at` is the time of the last heartbeat, which no event has.
    """
    state = versioned.state
    shown_steps = state.steps.values() if steps is None else steps
    started = format_time(state.started_at) if state.started_at else None
    completed = format_time(state.completed_at) if state.completed_at else None
    shown: dict[str, Any] = {
        "$type": "ServiceExecution",
        "$id": state.id,
        "order": state.order,
        "service": state.service,
    }
    if state.workflow:
        shown["workflow"] = state.workflow
    shown["customer"] = state.customer
    shown["provider"] = state.provider
    shown["status"] = state.status._value_
    shown["progress"] = shortest_number(state.progress)
    _add_outcome(shown, state)
    shown["steps"] = [step_document(step, state.assignee) for step in shown_steps]
    shown["checkpoints"] = [checkpoint_document(c) for c in _checkpoints(state)]
    _add_origins(shown, state)
    shown["attempts"] = [attempt_document(attempt) for attempt in state.attempts]
    if state.next_retry_at:
        shown["nextRetryAt"] = format_time(state.next_retry_at)
    _add_signs(shown, state, heard_at)
    shown["metrics"] = _metrics(state, now, started, completed)
    _add_settings(shown, state)
    shown["metadata"] = _metadata(versioned, started, completed)
    shown |= {"version": versioned.version, "position": versioned.position}
    # `ERASED` comes last, as `mark_erased` looks at the end.
    return shown if state.erasure is None else shown | ERASED


def _add_origins(shown: dict[str, Any], state: Execution) -> None:
    if state.resumed_from:
        shown["resumedFrom"] = state.resumed_from
    if origin := state.forked_from:
        shown["forkedFrom"] = {"execution": origin.execution, "version": origin.version}


def _add_settings(shown: dict[str, Any], state: Execution) -> None:
    shown["priority"] = state.priority._value_
    shown["timeout"] = milliseconds(state.timeout)
    if state.on_lease_lost != "restart":
        shown["onLeaseLost"] = state.on_lease_lost
    if state.retry_policy:
        shown["retryPolicy"] = policy_document(state.retry_policy)
    shown["webhooks"] = [webhook_document(webhook) for webhook in state.webhooks]
    shown["tags"] = list(state.tags)


def _add_signs(shown: dict[str, Any], state: Execution, heard_at: datetime | None) -> None:
    if state.heartbeat_timeout is not None:
        shown["heartbeatTimeout"] = in_milliseconds(state.heartbeat_timeout)
    if heard_at is not None:
        shown["lastHeartbeatAt"] = format_time(heard_at)
    if state.stalled:
        shown["stalled"] = True
    if (claim := claim_document(state, heard_at)) is not None:
        shown["claimedBy"] = claim


def claim_document(state: Execution, heard_at: datetime | None) -> dict[str, str] | None:
    """Return the worker that has claimed an execution and the end of its lease, for a last heartbeat at `heard_at`; None
    without a claim.
    """
    if state.claim is None:
        return None
    until = state.lease_until(heard_at)
    lease = {} if until is None else {"leaseUntil": format_time(until)}
    return {"worker": state.claim.worker, **lease}


def execution_json(
    versioned: Versioned[Execution],
    heard_at: datetime | None = None,
    more: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the JSON of an unsealed state at the time of its last event. `more` has further members of the webhooks,
    by their ids.
    """
    state, webhook_members = versioned.state, more or {}
    shown = document(versioned, versioned.at, (), heard_at)
    shown["steps"] = [step_json(step, state.assignee) for step in state.steps.values()]
    for hook in shown["webhooks"]:
        hook.update(webhook_members.get(hook["id"], {}))
    return plain_json(shown)


def with_logs(shown: dict[str, Any], logs: list[dict[str, Any]], total: int) -> dict[str, Any]:
    """Return a document with log lines added after the metrics."""
    found: dict[str, Any] = {}
    for name, value in shown.items():
        found[name] = value
        if name == "metrics":
            found["logs"], found["logsTotal"] = logs, total
    return found


def checkpoint_document(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as clients see it."""
    return {
        "id": checkpoint.id,
        "timestamp": format_time(checkpoint.at),
        "state": checkpoint.state,
        "step": checkpoint.step,
    }


def attempt_document(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as clients see it."""
    shown: dict[str, Any] = {
        "number": attempt.number,
        "startedAt": format_time(attempt.started_at),
    }
    if attempt.ended_at:
        shown["endedAt"] = format_time(attempt.ended_at)
        shown["outcome"] = attempt.outcome
    if attempt.error:
        shown["error"] = error_document(attempt.error)
    if attempt.delay is not None:
        shown["delay"] = in_milliseconds(attempt.delay)
    if attempt.worker is not None:
        shown["worker"] = attempt.worker
    return shown


def _checkpoints(state: Execution) -> list[Checkpoint]:
    """Return the latest checkpoints, preceded by the one that the execution was resumed from, if that is older."""
    older, latest = (
        state.checkpoints[:-LATEST_CHECKPOINTS],
        state.checkpoints[-LATEST_CHECKPOINTS:],
    )
    return [*(c for c in older if c.id == state.resumed_from), *latest]


def _add_outcome(shown: dict[str, Any], state: Execution) -> None:
    if state.assignee:
        shown["assignee"] = assignee_document(state.assignee)
    if state.result is not None:
        shown["result"] = _result(state.result)
    if state.error:
        shown["error"] = error_document(state.error)
    if state.cancellation:
        shown["cancellation"] = stop_document(state.cancellation)
    if state.pause:
        shown["pause"] = stop_document(state.pause)


def _metadata(
    versioned: Versioned[Execution], started: str | None, completed: str | None
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "createdAt": format_time(versioned.state.created_at),
        "updatedAt": format_time(versioned.state.updated_at),
    }
    if started:
        shown["startedAt"] = started
    if completed:
        shown["completedAt"] = completed
    if noted := versioned.state.metadata:
        for name in ("environment", "version"):
            if name in noted:
                shown[name] = noted[name]
        shown.update(noted)
    return shown


def _metrics(
    state: Execution, now: datetime, started: str | None, completed: str | None
) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if started:
        shown["startedAt"] = started
    if completed:
        shown["completedAt"] = completed
    if state.started_at:
        shown["duration"] = state.duration(now) // MILLISECOND
        shown["durationFinal"] = completed is not None
        shown["activeDuration"] = state.active_duration(now) // MILLISECOND
    shown.update(totals_document(state.used))
    shown["retries"] = state.retries
    shown["stepsCompleted"] = state.steps_completed
    shown["stepsTotal"] = state.steps_total
    return shown


def _result(result: Any) -> Any:
    if isinstance(result, Ciphertext):
        return result
    shown = {"success": result.success, "output": result.output, "summary": result.summary}
    if result.artifacts is not None:
        shown["artifacts"] = list(result.artifacts)
    return shown
