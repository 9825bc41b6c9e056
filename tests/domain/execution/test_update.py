"""Changes of the settings of an execution."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from domain.errors import IllegalTransition
from domain.execution.commands import UpdateExecution
from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionPaused,
    ExecutionResumed,
    RetryScheduled,
)
from domain.execution.events.progress import CheckpointSaved, ProgressUpdated
from domain.execution.events.steps import StepCompleted, StepsAdded, StepStarted
from domain.execution.types import Status, StepPlan
from domain.execution.webhook import Webhook
from domain.types import Assignee, Priority
from tests.support.given import given
from tests.support.histories import CREATED, HISTORIES, RUNNING, STARTED, STARTING, THREE_RETRIES

HOOK = Webhook(
    id="wh-1", url="https://a.example", events=("*",), headers={"Key": "k"}, format="json"
)


def update(**body: Any) -> UpdateExecution:
    return UpdateExecution.model_validate_json(orjson.dumps(body))


def test_update_changes_given_fields_and_no_others() -> None:
    after = (
        given(CREATED)
        .when(update(priority="high", tags=["eu"]))
        .then(ExecutionUpdated(priority=Priority.HIGH, tags=("eu",)))
    )
    assert after.state.priority is Priority.HIGH
    assert after.state.timeout == timedelta(hours=1)
    after.when(update(priority="high", tags=["eu"])).then_nothing()


def test_null_clears_a_field() -> None:
    person = Assignee(type="human", id="ann", name="Ann")
    full = given(
        CREATED,
        ExecutionUpdated(
            assignee=person,
            priority=Priority.LOW,
            retry_policy=THREE_RETRIES,
            webhooks=(HOOK,),
            tags=("a",),
            metadata={"a": 1},
        ),
    )
    names = ("assignee", "priority", "retryPolicy", "webhooks", "tags", "metadata")
    after = full.when(update(**dict.fromkeys(names))).then(
        ExecutionUpdated(
            assignee=None,
            priority=Priority.NORMAL,
            retry_policy=None,
            webhooks=(),
            tags=(),
            metadata={},
        )
    )
    assert (after.state.assignee, after.state.webhooks, after.state.metadata) == (None, (), {})


def test_metadata_is_merged() -> None:
    noted = given(CREATED, ExecutionUpdated(metadata={"a": 1, "b": {"c": 1, "d": 2}}))
    noted.when(update(metadata={"a": None, "b": {"c": 3}, "version": "2"})).then(
        ExecutionUpdated(metadata={"b": {"c": 3, "d": 2}, "version": "2"})
    )


def test_only_an_import_may_remove_the_timeout() -> None:
    given(CREATED).when(update(timeout=0)).refused_field("timeout")
    given(CREATED).while_importing().when(update(timeout=0)).then(ExecutionUpdated(timeout=None))


def test_null_timeout_sets_the_default() -> None:
    short = given(CREATED).happened(ExecutionUpdated(timeout=timedelta(seconds=1)))
    short.when(update(timeout=None)).then(ExecutionUpdated(timeout=timedelta(hours=1)))
    given(CREATED).when(update(timeout=None)).then_nothing()


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED])
def test_refused_update_is_not_among_the_allowed_commands(status: Status) -> None:
    for refused in (update(priority="urgent"), update(status=Status.FAILED)):
        error = given(*HISTORIES[status]).when(refused).error
        assert error is not None
        assert "update" not in error.members["allowedCommands"]


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED])
def test_only_tags_and_metadata_can_change_after_the_end(status: Status) -> None:
    ended = given(*HISTORIES[status])
    ended.when(update(tags=["x"], metadata={"a": 1})).then(
        ExecutionUpdated(tags=("x",), metadata={"a": 1})
    )
    ended.when(update(priority="high")).refused(IllegalTransition, status=status)
    ended.when(update(priority="normal")).then_nothing()


def test_webhook_keeps_its_id_and_its_secrets() -> None:
    hooked = given(CREATED, ExecutionUpdated(webhooks=(HOOK,)))
    command = update(
        webhooks=[
            {"url": "https://new.example", "events": ["failed"]},
            {
                "id": "wh-1",
                "url": "https://a.example/b",
                "events": ["*"],
                "headers": {"Key": "***", "New": "n"},
            },
        ]
    )
    new = Webhook(id="wh_new", url="https://new.example", events=("failed",), format="json")
    changed = {"url": "https://a.example/b", "headers": {"Key": "k", "New": "n"}}
    kept = HOOK.model_copy(update=changed)
    hooked.when(command).then(ExecutionUpdated(webhooks=(new, kept)))


URL = "https://me:pw@a.example/T1/B2c3d4e5f6g7h8i9j0k1/x?token=1&plain"
SHOWN = "https://***@a.example/T1/***/x?token=***&plain"
SECRET = HOOK.model_copy(update={"url": SHOWN, "full_url": URL})


def test_secrets_in_the_url_of_a_webhook_are_sealed_and_masked() -> None:
    hook = {"url": URL, "events": ["*"]}
    [event] = given(CREATED).when(update(webhooks=[hook])).events
    assert isinstance(event, ExecutionUpdated)
    [kept] = event.webhooks
    assert (kept.url, kept.full_url, kept.target) == (SHOWN, URL, URL)


def test_url_that_is_sent_back_masked_keeps_its_secrets() -> None:
    hooked = given(CREATED, ExecutionUpdated(webhooks=(SECRET,)))
    sent = {"id": "wh-1", "url": SHOWN, "events": ["failed"], "headers": {"Key": "***"}}
    [event] = hooked.when(update(webhooks=[sent])).events
    assert isinstance(event, ExecutionUpdated)
    assert event.webhooks == (SECRET.model_copy(update={"events": ("failed",)}),)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"url": "https://***@b.example/"}, "webhooks.0.url"),
        ({"url": SHOWN + "2"}, "webhooks.0.url"),
        ({"url": "https://b.example/", "headers": {"Key": "***"}}, "webhooks.0.headers.Key"),
        ({"url": "https://a.example:8443/", "headers": {"Key": "***"}}, "webhooks.0.headers.Key"),
        ({"url": SHOWN, "headers": {"Other": "***"}}, "webhooks.0.headers.Other"),
    ],
)
def test_mask_keeps_a_secret_only_for_an_unchanged_origin(
    changed: dict[str, Any], field: str
) -> None:
    hooked = given(CREATED, ExecutionUpdated(webhooks=(SECRET,)))
    sent = {"id": "wh-1", "events": ["*"], **changed}
    hooked.when(update(webhooks=[sent])).refused_field(field)


def test_missing_webhook_cannot_be_replaced() -> None:
    unknown = {"id": "wh-1", "url": "https://a.example", "events": ["*"]}
    given(CREATED).when(update(webhooks=[unknown])).refused_field("webhooks.0.id")


def test_status_field_acts_as_its_command() -> None:
    checkpoint = CheckpointSaved(checkpoint="cp-1", state={}, step="", progress=0)
    running = given(CREATED).when(update(status="running")).then(STARTING, STARTED)
    paused = running.when(update(status="paused")).then(
        checkpoint, ExecutionPaused(checkpoint="cp-1")
    )
    paused.when(update(status="running")).then(ExecutionResumed(checkpoint="cp-1"))
    paused.when(update(status="cancelled")).then(ExecutionCancelled())


def test_status_is_applied_first_and_the_other_fields_are_checked_after_it() -> None:
    given(CREATED).when(update(status="running", progress=10, tags=["a"])).then(
        STARTING, STARTED, ExecutionUpdated(tags=("a",)), ProgressUpdated(progress=10)
    )
    given(*RUNNING).when(update(status="cancelled", priority="high")).refused(
        IllegalTransition, status="cancelled"
    )


def test_update_to_the_same_status_changes_nothing() -> None:
    for status, story in HISTORIES.items():
        given(*story).when(update(status=status.value)).then_nothing()


@pytest.mark.parametrize("status", ["queued", "starting", "completed", "failed", "retry"])
def test_status_that_needs_more_fields_is_refused(status: str) -> None:
    given(*RUNNING).when(update(status=status)).refused(IllegalTransition, status="running")


def test_failed_execution_is_retried_by_its_status() -> None:
    failed = given(*HISTORIES[Status.FAILED])
    retried = failed.when(update(status="retry"))
    assert [type(event) for event in retried.events] == [RetryScheduled]


def test_null_progress_sets_it_to_that_of_the_steps() -> None:
    plans = tuple(StepPlan(id=name, name=name) for name in "ab")
    working = given(*RUNNING, StepsAdded(steps=plans), StepStarted(step="a"))
    received = working.happened(StepCompleted(step="a"), ProgressUpdated(progress=90))
    cleared = received.when(update(progress=None)).then(ExecutionUpdated(progress=None))
    assert cleared.state.progress == 50
    cleared.when(update(progress=None)).then_nothing()


def test_status_that_is_not_allowed_now_is_refused() -> None:
    given(CREATED).when(update(status="paused")).refused(IllegalTransition, status="queued")


def test_progress_in_an_update_records_progress() -> None:
    given(*RUNNING).when(update(progress=12)).then(ProgressUpdated(progress=12))
    given(CREATED).when(update(progress=12)).refused(IllegalTransition, status="queued")


@pytest.mark.parametrize("field", ["order", "result", "version", "attempts", "createdAt", "$id"])
def test_field_set_by_the_server_is_refused_by_name(field: str) -> None:
    with pytest.raises(ValidationError, match=field.replace("$", r"\$")):
        update(**{field: "x"})


def test_update_sets_and_resets_the_policy_for_a_lost_lease() -> None:
    resuming = given(CREATED).when(update(onLeaseLost="resume"))
    after = resuming.then(ExecutionUpdated(on_lease_lost="resume"))
    assert after.state.on_lease_lost == "resume"
    back = after.when(update(onLeaseLost=None)).then(ExecutionUpdated(on_lease_lost="restart"))
    assert back.state.on_lease_lost == "restart"
    back.when(update(onLeaseLost="restart")).then_nothing()
