"""Forks: executions that begin from a version of another one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from domain.errors import AlreadyExists
from domain.eventlog.codec import to_sealed_json
from domain.eventlog.encryption import DataKey
from domain.execution.commands import StartExecution, StartStep
from domain.execution.commands.fork import ForkExecution
from domain.execution.events.creation import ExecutionCreated, ExecutionUpdated
from domain.execution.events.lifecycle import (
    ExecutionCompleted,
    ExecutionErased,
    ExecutionFailed,
    ExecutionResumed,
)
from domain.execution.events.progress import CheckpointSaved, ProgressUpdated
from domain.execution.events.steps import (
    StepCompleted,
    StepFailed,
    StepsAdded,
    StepSkipped,
    StepStarted,
    UsageRecorded,
)
from domain.execution.types import (
    DEFAULT_TIMEOUT,
    ExecutionError,
    ForkedFrom,
    StepPlan,
    StepStatus,
)
from domain.execution.webhook import Webhook
from domain.model import Event, Recorded, replay
from domain.registry import codec
from domain.types import Assignee, StepAssignee
from projections.representations.client_json import open_json
from projections.representations.execution import document
from projections.representations.execution_schema import ServiceExecution
from tests.support.given import NOON, SECOND, Given, given
from tests.support.histories import (
    CREATED,
    PAUSED,
    RESULT,
    RUNNING,
    STARTED,
    STARTING,
    THREE_RETRIES,
)

BOT = Assignee(type="ai-agent", id="bot", name="Bot")
PLANS = (
    StepPlan(id="plan", name="Plan", kind="agent", input={"topic": "bees"}),
    StepPlan(id="search", name="Search", parent="plan", kind="tool"),
    StepPlan(id="check", name="Check", assignee=StepAssignee(type="human")),
    StepPlan(id="write", name="Write"),
    StepPlan(id="send", name="Send"),
)
ERROR = ExecutionError(code="X", message="no answer", stack="line 1", step="check")
SETTINGS = ExecutionUpdated(
    assignee=BOT,
    retry_policy=THREE_RETRIES,
    tags=("eu",),
    metadata={"region": {"id": 7}},
    webhooks=(Webhook(id="wh-1", url="https://a.example", events=("*",), headers={"K": "k3y"}),),
)
WORK: tuple[Event, ...] = (
    *RUNNING,
    SETTINGS,
    StepsAdded(steps=PLANS),
    StepStarted(step="plan", name="Plan it", input={"topic": "wasps"}),
    StepCompleted(step="plan", output=["a", {"b": None}]),
    UsageRecorded(tokens_used=9, step="plan"),
    StepStarted(step="check"),
    StepFailed(step="check", error=ERROR),
    StepSkipped(step="write", reason="too dear"),
    StepStarted(step="search", input="q"),
    ProgressUpdated(progress=40),
    CheckpointSaved(checkpoint="cp-1", state={"page": 3}, step="plan", progress=40),
    PAUSED,
    ExecutionResumed(checkpoint="cp-1"),
)
KEY = DataKey(b"f" * 32, "execution/fork")


def fork(source: Given, new: Given | None = None) -> Given:
    command = ForkExecution(version=source.version).of(source.state)
    outcome = (new or given(stream="execution/fork").after(60 * SECOND)).when(command)
    return outcome.then(*outcome.events)


def show(history: Given) -> dict[str, Any]:
    wire = orjson.dumps(document(history.versioned, history.now))
    ServiceExecution.model_validate_json(wire)
    read: dict[str, Any] = orjson.loads(wire)
    return read


def test_fork_is_queued_and_names_its_source_and_version() -> None:
    after = show(fork(given(*WORK)))
    assert after["status"] == "queued"
    assert after["forkedFrom"] == {"execution": "e-1", "version": len(WORK)}
    assert after["metadata"]["createdAt"] == "2026-11-22T12:01:01.000Z"


def test_fork_has_the_settings_of_the_forked_version() -> None:
    source, after = show(given(*WORK)), show(fork(given(*WORK)))
    for name in ("order", "service", "customer", "provider", "assignee", "retryPolicy", "tags"):
        assert after[name] == source[name]
    for name in ("priority", "timeout", "checkpoints", "progress"):
        assert after[name] == source[name]
    assert after["metadata"]["region"] == {"id": 7}


def test_fork_keeps_ended_steps_and_makes_the_others_pending() -> None:
    source, after = given(*WORK).state.steps, fork(given(*WORK)).state.steps
    assert list(after) == list(source)
    assert {step.id: step.status.value for step in after.values()} == {
        "plan": "completed",
        "search": "pending",
        "check": "failed",
        "write": "skipped",
        "send": "pending",
    }
    for name in ("name", "parent", "kind", "assignee", "input", "output", "error", "reason"):
        assert {i: getattr(s, name) for i, s in after.items()} == {
            i: getattr(s, name) for i, s in source.items()
        }
    assert after["plan"].completed_at == source["plan"].completed_at
    assert after["search"].started_at is None


def test_fork_begins_without_attempts_usage_results_and_webhooks() -> None:
    ended = ExecutionFailed(error=ERROR, final=True, will_retry=False)
    after = show(fork(given(*WORK, ended)))
    assert (after["attempts"], after["webhooks"]) == ([], [])
    assert after["metrics"]["tokensUsed"] == after["metrics"]["retries"] == 0
    assert not {"error", "result", "pause", "resumedFrom", "startedAt"} & after.keys()
    assert all("metrics" not in step for step in after["steps"])


def test_step_skipped_by_an_end_is_pending_in_a_fork() -> None:
    ended = ExecutionFailed(error=ERROR, final=True, will_retry=False)
    after = fork(given(*WORK, ended)).state
    assert after.steps["search"].status is StepStatus.PENDING
    assert after.steps["write"].status is StepStatus.SKIPPED
    assert after.steps_completed == 2


def test_fork_of_a_completed_execution_does_not_copy_its_progress() -> None:
    completed = ExecutionCompleted(success=True, result=RESULT)
    assert fork(given(*WORK, completed)).state.progress == 40  # two of five steps
    assert fork(given(CREATED)).state.explicit_progress is None
    assert fork(given(*WORK, ProgressUpdated(progress=0))).state.explicit_progress == 0


def test_fork_accepts_the_commands_of_any_execution() -> None:
    after = fork(given(*WORK)).when(StartExecution()).then(STARTING, STARTED)
    for step in ("plan", "search", "check", "write"):
        again = after.when(StartStep(step=step)).then(StepStarted(step=step))
        assert again.state.steps[step].output is None
    saved = after.happened(PAUSED, ExecutionResumed(checkpoint="cp-1"))
    assert saved.state.resumed_from == "cp-1"


def test_fork_of_a_fork_names_its_direct_source() -> None:
    second = fork(fork(given(*WORK)), given(stream="execution/second"))
    assert second.state.forked_from == ForkedFrom(execution="fork", version=1)
    assert second.state.steps["plan"].output == ["a", {"b": None}]


def test_fork_of_an_import_without_timeout_gets_the_default() -> None:
    imported = given(CREATED.model_copy(update={"timeout": None}))
    assert fork(imported).state.timeout == DEFAULT_TIMEOUT
    importing = given(stream="execution/fork").while_importing()
    assert fork(imported, importing).state.timeout is None


def test_fork_under_a_taken_id_is_refused() -> None:
    command = ForkExecution(version=1).of(given(CREATED).state)
    given(CREATED, stream="execution/fork").when(command).refused(AlreadyExists)


def first_event(source: Given) -> ExecutionCreated:
    [event] = given().when(ForkExecution(version=1).of(source.state)).events
    assert isinstance(event, ExecutionCreated)
    return event


def test_fork_seals_copied_content_with_its_own_key() -> None:
    recorded = Recorded("execution/fork", 1, 1, NOON, first_event(given(*WORK)), "tester")
    row = codec().encode(recorded, KEY)
    for secret in ("wasps", "no answer", "line 1", "too dear", "page", "k3y", '"b"'):
        assert secret.encode() not in row.data
    live = replay(None, [codec().decode(row, KEY)])
    view = replay(None, [codec().decode(row)])
    assert live is not None
    assert view is not None
    assert live.state == replay(None, [recorded]).state  # type: ignore[union-attr]  # it is running
    opened = open_json(to_sealed_json(document(view, NOON)), KEY)
    assert orjson.loads(opened) == orjson.loads(orjson.dumps(document(live, NOON)))


def test_fork_of_content_erased_since_it_was_read_is_refused() -> None:
    source = given(*WORK)
    erased = source.happened(ExecutionErased(reason="Jane asked for it"))
    command = ForkExecution(version=source.version).of(source.state)
    assert list(command.reads(None, {})) == ["execution/e-1"]
    new = given(stream="execution/fork")
    new.knowing(execution__e_1=erased.state).when(command).refused_field("version")
    assert new.knowing(execution__e_1=source.state).when(command).error is None


@pytest.mark.parametrize(
    "events",
    [
        (StepStarted(step="a", input="x"),),
        (StepStarted(step="a"), StepCompleted(step="a", output="x")),
        (StepStarted(step="a"), StepFailed(step="a", error=ERROR)),
        (StepStarted(step="a"), StepSkipped(step="a", reason="x")),
        (CheckpointSaved(checkpoint="cp-1", state={}, step="", progress=0),),
    ],
)
def test_fork_of_erased_content_is_refused(events: tuple[Event, ...]) -> None:
    keys, versioned = codec(), None
    for version, event in enumerate((*RUNNING, *events), 1):
        recorded = Recorded("execution/e-1", version, version, NOON, event, "tester")
        versioned = replay(versioned, [keys.decode(keys.encode(recorded, KEY))])  # without the key
    assert versioned is not None
    command = ForkExecution(version=versioned.version).of(versioned.state)
    given(stream="execution/fork").when(command).refused_field("version")
