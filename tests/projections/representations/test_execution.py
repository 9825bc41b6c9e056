"""Documents of executions as clients see them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import hypothesis
import orjson
import pytest

from domain.eventlog.codec import Codec, to_sealed_json
from domain.eventlog.encryption import DataKey
from domain.execution.commands import PauseExecution
from domain.execution.events.creation import ExecutionCreated, ExecutionUpdated
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
)
from domain.execution.events.progress import CheckpointSaved
from domain.execution.events.steps import (
    StepCompleted,
    StepsAdded,
    StepSkipped,
    StepStarted,
    UsageRecorded,
)
from domain.execution.parts import CACHED_JSON, Step
from domain.execution.types import ExecutionError, Status, StepPlan
from domain.execution.webhook import Webhook
from domain.model import Recorded
from domain.registry import codec
from domain.types import Assignee, StepAssignee
from projections.representations.client_json import open_json, plain_json
from projections.representations.execution import (
    document,
    execution_json,
)
from projections.representations.execution_schema import ServiceExecution
from projections.representations.jsonld import to_jsonld
from projections.representations.step import step_json
from tests.support.given import NOON, SECOND, Given, given
from tests.support.histories import (
    CHECKPOINT,
    CREATED,
    HISTORIES,
    HOPELESS,
    PAUSED,
    RESULT,
    RUNNING,
    WAITING,
)
from tests.support.random_executions import creations, walk, ways

CLAUDE = Assignee(type="ai-agent", id="claude", name="Claude", model="claude-4.5")
HOOK = Webhook(id="wh-1", url="https://a.example", events=("*",), headers={"Key": "k3y"})
KEY = DataKey(b"k" * 32, "execution/e-1")


def document_of(history: Given) -> dict[str, Any]:
    """The document after a round trip through its JSON."""
    wire = orjson.dumps(document(history.versioned, history.now))
    ServiceExecution.model_validate_json(wire)
    read: dict[str, Any] = orjson.loads(wire)
    return read


def test_new_execution_shows_every_required_member() -> None:
    assert document_of(given(CREATED)) == {
        "$type": "ServiceExecution",
        "$id": "e-1",
        "order": "o-1",
        "service": "s-1",
        "customer": "c-1",
        "provider": "p-1",
        "status": "queued",
        "progress": 0,
        "steps": [],
        "checkpoints": [],
        "attempts": [],
        "metrics": {
            "tokensUsed": 0,
            "cost": 0.0,
            "currency": "USD",
            "apiCalls": 0,
            "retries": 0,
            "stepsCompleted": 0,
            "stepsTotal": 0,
        },
        "priority": "normal",
        "timeout": 3_600_000,
        "webhooks": [],
        "tags": [],
        "metadata": {
            "createdAt": "2026-11-22T12:00:01.000Z",
            "updatedAt": "2026-11-22T12:00:01.000Z",
        },
        "version": 1,
        "position": 1,
    }


@pytest.mark.parametrize("status", Status)
def test_every_status_has_its_document(status: Status) -> None:
    assert document_of(given(*HISTORIES[status]))["status"] == status


def test_durations_of_a_running_execution_count_until_now() -> None:
    metrics = document_of(given(*RUNNING).after(10 * SECOND))["metrics"]
    assert (metrics["duration"], metrics["durationFinal"]) == (10_000, False)
    assert metrics["activeDuration"] == 10_000  # not the second before, in which it was starting


def test_durations_of_an_ended_execution_are_fixed() -> None:
    ended = given(*HISTORIES[Status.COMPLETED])
    assert document_of(ended.after(timedelta(days=3)))["metrics"]["duration"] == 1_000
    assert document_of(ended)["metrics"]["durationFinal"] is True
    assert (
        document_of(ended)["metadata"]["completedAt"]
        == document_of(ended)["metrics"]["completedAt"]
    )


def test_execution_that_waits_for_a_retry_shows_its_time() -> None:
    waiting = document_of(given(*WAITING))
    assert waiting["nextRetryAt"] == "2026-11-22T12:00:05.000Z"
    assert waiting["metrics"]["retries"] == 1
    assert waiting["attempts"] == [
        {
            "number": 1,
            "startedAt": "2026-11-22T12:00:02.000Z",
            "endedAt": "2026-11-22T12:00:04.000Z",
            "outcome": "failed",
            "delay": 1000,
            "error": {
                "code": "SMTP",
                "message": "No answer",
                "recoverable": True,
                "retryCount": 0,
            },
        }
    ]


def test_cancellation_shows_its_actor() -> None:
    assert document_of(given(*HISTORIES[Status.CANCELLED]))["cancellation"] == {
        "by": "tester",
        "at": "2026-11-22T12:00:04.000Z",
        "reason": "changed my mind",
    }


def test_pause_shows_actor_time_and_reason_while_it_lasts() -> None:
    paused = given(*HISTORIES[Status.PAUSED])
    assert document_of(paused)["pause"] == {
        "reason": "lunch",
        "by": "tester",
        "at": "2026-11-22T12:00:05.000Z",
    }
    assert "pause" not in document_of(paused.happened(ExecutionResumed(checkpoint="cp-1")))
    failed = ExecutionFailed(error=HOPELESS, final=True, will_retry=False)
    for end in (failed, ExecutionCancelled()):
        assert "pause" not in document_of(paused.happened(end))


def test_resumed_from_names_the_last_restored_checkpoint() -> None:
    paused = given(*HISTORIES[Status.PAUSED])
    assert "resumedFrom" not in document_of(paused)
    resumed = paused.happened(ExecutionResumed(checkpoint="cp-1"))
    assert document_of(resumed)["resumedFrom"] == "cp-1"


def test_skipped_step_shows_its_reason() -> None:
    plan = StepPlan(id="a", name="A")
    skipped = given(*RUNNING, StepsAdded(steps=(plan,)), StepSkipped(step="a", reason="no time"))
    assert document_of(skipped)["steps"][0]["reason"] == "no time"
    again = skipped.happened(StepStarted(step="a"))
    assert "reason" not in document_of(again)["steps"][0]


def test_latest_ten_checkpoints_are_shown() -> None:
    saved = [CheckpointSaved(checkpoint=f"cp-{n}", state={}, step="") for n in range(1, 13)]
    ids = [checkpoint["id"] for checkpoint in document_of(given(*RUNNING, *saved))["checkpoints"]]
    assert ids == [f"cp-{n}" for n in range(3, 13)]


def test_checkpoint_that_was_resumed_from_is_shown_however_old() -> None:
    saved = [CheckpointSaved(checkpoint=f"cp-{n}", state={}, step="") for n in range(1, 13)]
    paused = ExecutionPaused(checkpoint="cp-12")
    for chosen, first in (("cp-1", "cp-1"), ("cp-3", "cp-3"), ("cp-12", "cp-3")):
        resumed = ExecutionResumed(checkpoint=chosen)
        shown_ = document_of(given(*RUNNING, *saved, paused, resumed))["checkpoints"]
        assert shown_[0]["id"] == first
        assert len(shown_) == (11 if chosen == "cp-1" else 10)


@pytest.mark.parametrize(
    ("step", "filled"),
    [
        (
            StepAssignee(type="ai-agent"),
            {"type": "ai-agent", "id": "claude", "name": "Claude", "model": "claude-4.5"},
        ),
        (
            StepAssignee(type="ai-agent", model="another"),
            {"type": "ai-agent", "model": "another"},
        ),
        (StepAssignee(type="human"), {"type": "human"}),
    ],
)
def test_step_without_an_assignee_shows_that_of_the_execution(
    step: StepAssignee, filled: dict[str, str]
) -> None:
    plan = StepPlan(id="a", name="A", assignee=step)
    history = given(CREATED, ExecutionUpdated(assignee=CLAUDE), StepsAdded(steps=(plan,)))
    assert document_of(history)["steps"][0]["assignee"] == filled


def test_values_of_webhook_headers_are_never_shown() -> None:
    hooked = given(CREATED, ExecutionUpdated(webhooks=(HOOK,)))
    assert document_of(hooked)["webhooks"][0]["headers"] == {"Key": "***"}


def test_webhook_header_values_are_not_shown_in_the_history() -> None:
    event = ExecutionUpdated(webhooks=(HOOK,))
    stored = codec().encode(Recorded("execution/e-1", 2, 2, NOON, event, "tester"), KEY)
    assert b"k3y" not in stored.data
    opened = orjson.loads(open_json(stored.data, KEY))
    assert opened["webhooks"][0]["headers"] == {"Key": "***"}
    assert codec().decode(stored, KEY).event == event


def whole() -> Given:
    error = ExecutionError(code="X", message="bad", stack="at line 1", step="a", recoverable=True)
    plans = (StepPlan(id="a", name="A", input={"q": [1, None]}),)
    created = ExecutionCreated(
        order="o-1", service="s-1", customer="c-1", provider="p-1", webhooks=(HOOK,), steps=plans
    )
    return given(
        created,
        *RUNNING[1:],
        StepStarted(step="a"),
        UsageRecorded(tokens_used=3, step="a"),
        StepCompleted(step="a", output="done"),
        StepStarted(step="b"),
        StepSkipped(step="b", reason="too dear"),
        CHECKPOINT,
        PAUSED,
        ExecutionFailed(error=error, final=True, will_retry=False),
    )


def freeze_and_thaw(history: Given, keys: Codec) -> dict[str, Any]:
    """The document as a view stores it: sealed."""
    row = keys.take_snapshot(history.stream, history.versioned, KEY)
    return document(keys.restore(row), history.now)


@pytest.mark.parametrize(
    "history", [whole(), *(given(*story) for story in HISTORIES.values())], ids=str
)
def test_sealed_document_opens_to_the_plain_one(history: Given) -> None:
    sealed = to_sealed_json(freeze_and_thaw(history, codec()))
    assert orjson.loads(open_json(sealed, KEY)) == document_of(history)


def test_sealed_document_shows_no_content() -> None:
    for history in (whole(), given(*RUNNING, ExecutionCompleted(success=True, result=RESULT))):
        text = to_sealed_json(freeze_and_thaw(history, codec())).decode()
        for secret in ("bad", "line 1", '"q"', "done", "page", "k3y", "Sent two", "too dear"):
            assert secret not in text


def test_content_without_its_key_is_null() -> None:
    sealed = to_sealed_json(freeze_and_thaw(whole(), codec()))
    erased = orjson.loads(open_json(sealed, None))
    ServiceExecution.model_validate(erased, strict=False)
    assert erased["error"]["message"] is None
    assert erased["checkpoints"][0]["state"] is None


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("queued", "PotentialActionStatus"),
        ("starting", "ActiveActionStatus"),
        ("running", "ActiveActionStatus"),
        ("paused", "ActiveActionStatus"),
        ("completed", "CompletedActionStatus"),
        ("failed", "FailedActionStatus"),
        ("cancelled", "FailedActionStatus"),
        ("retry", "PotentialActionStatus"),
    ],
)
def test_linked_data_is_an_action_of_schema_org(status: str, action: str) -> None:
    linked = to_jsonld(document_of(given(*HISTORIES[Status(status)])))
    assert (linked["@type"], linked["actionStatus"], linked["status"]) == ("Action", action, status)
    assert linked["@context"][0] == linked["$context"] == "https://schema.org"


def test_linked_data_shows_agent_times_result_and_error() -> None:
    story = (CREATED, ExecutionUpdated(assignee=CLAUDE), *HISTORIES[Status.COMPLETED][1:])
    linked = to_jsonld(document_of(given(*story)))
    assert linked["agent"] == {
        "@type": "SoftwareApplication",
        "@id": "urn:executions:agent:claude",
        "additionalType": "ai-agent",
        "identifier": "claude",
        "name": "Claude",
        "model": "claude-4.5",
    }
    assert linked["result"]["summary"] == "Sent two"
    assert linked["startTime"] < linked["endTime"]
    failed = to_jsonld(document_of(given(*HISTORIES[Status.FAILED])))
    assert failed["error"]["name"] == "SMTP"


@pytest.mark.parametrize("output", [{"id": 7, "@type": []}, [{"type": None}], "sent", 2, None])
def test_linked_data_has_each_keyword_under_one_name(output: Any) -> None:
    """Schema.org's context also maps `@id` and `@type` to `id` and `type`: no object has both."""
    result = RESULT.model_copy(update={"output": output})
    ended = ExecutionCompleted(success=True, result=result)
    for history in (given(*RUNNING, ExecutionUpdated(assignee=CLAUDE), ended), whole()):
        assert not {"id", "type"} & set(names(to_jsonld(document_of(history))))


def names(linked: Any) -> Iterator[str]:
    """Every name in linked data except in JSON literals, which are never expanded."""
    if isinstance(linked, list):
        for item in linked:
            yield from names(item)
    elif isinstance(linked, dict) and linked.get("@type") != "@json":
        yield from linked
        yield from names(list(linked.values()))


def test_linked_data_is_about_the_order_done_with_the_service() -> None:
    linked = to_jsonld(document_of(given(CREATED)))
    assert linked["object"] == {
        "@type": "Order",
        "@id": "urn:executions:order:o-1",
        "identifier": "o-1",
    }
    assert linked["instrument"]["@id"] == "urn:executions:service:s-1"
    assert linked["customer"] == {"@id": "urn:executions:user:c-1", "identifier": "c-1"}


def test_linked_data_contains_expanded_names() -> None:
    service = {"$type": "Service", "$id": "s-1", "name": "Outreach"}
    customer = {"$type": "User", "$id": "c-1", "name": "Ann", "kind": "person"}
    document = document_of(given(CREATED)) | {"service": service, "customer": customer}
    linked = to_jsonld(document)
    assert linked["instrument"]["name"] == "Outreach"
    assert (linked["customer"]["@type"], linked["customer"]["name"]) == ("Person", "Ann")


@pytest.mark.parametrize("agent", ["claude", "a b/../c", "http://x", "ü?#%"])
def test_ids_in_linked_data_do_not_depend_on_the_url_of_the_request(agent: str) -> None:
    executing = CLAUDE.model_copy(update={"id": agent})
    linked = to_jsonld(document_of(given(*RUNNING, ExecutionUpdated(assignee=executing))))
    ids = [value for name, value in pairs(linked) if name == "@id"]
    assert len(ids) == 6
    for found in ids:
        assert re.fullmatch(r"urn:executions:[a-z]+:[A-Za-z0-9._~%-]+", found), found
    assert unquote(linked["agent"]["@id"].rpartition(":")[2]) == agent


def pairs(linked: Any) -> Iterator[tuple[str, Any]]:
    """Every name in linked data with its value, without those of the context."""
    for name, value in linked.items():
        yield name, value
        if isinstance(value, dict):
            yield from pairs(value)


def test_linked_data_has_the_complete_output() -> None:
    linked = to_jsonld(document_of(given(*HISTORIES[Status.COMPLETED])))
    assert linked["result"]["output"] == {"@type": "@json", "@value": {"sent": 2}}


def test_answer_to_a_command_needs_no_key() -> None:
    outcome = given(*RUNNING).when(PauseExecution(state={"page": 3}))
    paused = outcome.then(*outcome.events)
    assert document_of(paused)["checkpoints"][0]["state"] == {"page": 3}


@hypothesis.given(creations, ways)
def test_opened_json_equals_the_document_after_each_event(creation: Any, way: Any) -> None:
    """Cached JSON is never that of an older step, or of a step with another assignee."""
    for versioned in walk(creation, way).states:
        for _ in range(2):
            assert execution_json(versioned) == plain_json(document(versioned, versioned.at))


def test_cached_json_of_a_step_is_small_and_neither_compared_nor_stored() -> None:
    small, large = (Step("one", "One", output="x" * size) for size in (10, 10_000))
    for step in (small, large):
        step_json(step, None)
    assert CACHED_JSON in small.__dict__
    assert CACHED_JSON not in large.__dict__
    assert small == Step("one", "One", output="x" * 10)
    assert CACHED_JSON.encode() not in orjson.dumps(small)
    assert CACHED_JSON not in small.evolve(name="Another").__dict__
