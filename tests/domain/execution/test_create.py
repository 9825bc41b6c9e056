"""Creation of executions: defaults, derived fields, and requests that are refused."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from domain.errors import AlreadyExists, UnknownReference
from domain.execution.commands import COMMANDS, FailExecution, RecordUsage
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import ExecutionStarted, ExecutionStarting
from domain.execution.events.progress import ProgressUpdated
from domain.execution.events.steps import UsageRecorded
from domain.execution.state import Execution
from domain.execution.types import Status
from domain.execution.webhook import Webhook
from domain.model import Command
from tests.support.given import Given, given
from tests.support.histories import CREATED, HISTORIES, ORDER, SERVICE

BODY = {"order": "o-1", "service": "s-1"}
EXAMPLE = {
    "order": {"$id": "o-1", "$type": "ServiceOrder"},
    "service": {"$id": "s-1"},
    "status": "queued",
    "progress": 0,
    "assignee": {"type": "ai-agent", "id": "claude", "name": "Claude", "model": "claude-4.5"},
    "priority": "normal",
    "timeout": 3_600_000,
    "retryPolicy": {
        "maxRetries": 3,
        "backoff": "exponential",
        "initialDelay": 1000,
        "maxDelay": 60000,
    },
    "steps": [
        {"id": "send", "name": "Send", "status": "pending", "assignee": {"type": "system"}},
    ],
    "metrics": {"stepsTotal": 3, "stepsCompleted": 0},
    "webhooks": [
        {"url": "https://a.example/hook", "events": ["completed"], "headers": {"X-Key": "k"}},
        {"url": "https://hooks.slack.com/services/T1", "events": ["failed"]},
    ],
}


def parse(word: str, body: object) -> Command[Execution]:
    return COMMANDS[word].model_validate_json(orjson.dumps(body))


def create(**more: Any) -> Command[Execution]:
    return parse("create", BODY | more)


def ordered() -> Given:
    return given().knowing(order__o_1=ORDER, service__s_1=SERVICE)


def created(command: Command[Execution]) -> ExecutionCreated:
    first = ordered().when(command).events[0]
    assert isinstance(first, ExecutionCreated)
    return first


def test_customer_and_provider_are_taken_from_order_and_service() -> None:
    after = ordered().when(create()).then(CREATED)
    assert after.state.parties == ("c-1", "p-1")
    assert CREATED.parties == ("c-1", "p-1")
    assert after.state.created_at == after.now
    assert after.state.id == "e-1"


def test_workflow_is_taken_from_the_service() -> None:
    service = SERVICE.evolve(workflow="w-1")
    outcome = ordered().knowing(service__s_1=service).when(create())
    assert outcome.then(*outcome.events).state.workflow == "w-1"


def test_execution_may_be_created_running() -> None:
    ordered().when(create(status="running")).then(CREATED, ExecutionStarting(), ExecutionStarted())


def test_execution_created_running_may_have_progress() -> None:
    events = ordered().when(create(status="running", progress=30)).events
    assert [type(event) for event in events][-1] is ProgressUpdated
    ordered().when(create(progress=30)).refused_field("progress")


def test_service_must_be_that_of_the_order() -> None:
    other = ordered().knowing(service__s_2=SERVICE)
    other.when(create(service="s-2")).refused_field("service")


def test_execution_whose_order_or_service_is_unknown_is_refused() -> None:
    ordered().knowing(order__o_1=None).when(create()).refused(UnknownReference, field="order")
    ordered().knowing(service__s_1=None).when(create()).refused(UnknownReference, field="service")


def test_taken_id_is_refused() -> None:
    given(CREATED).when(create()).refused(AlreadyExists)


def test_repeated_step_id_is_refused() -> None:
    steps = [{"id": "s", "name": "one"}, {"id": "s", "name": "two"}]
    ordered().when(create(steps=steps)).refused_field("steps.1.id")


def test_creation_reads_the_order_and_the_service() -> None:
    assert [*create(order={"$id": "o-2"}).reads(None, {})] == ["order/o-2", "service/s-1"]


def test_example_with_every_field_is_accepted() -> None:
    event = created(parse("create", EXAMPLE))
    assert event.steps_total == 3
    assert [step.id for step in event.steps] == ["send"]
    assert event.webhooks == (
        Webhook(
            id="wh_new",
            url="https://a.example/hook",
            events=("completed",),
            headers={"X-Key": "k"},
        ),
        Webhook(
            id="wh_new",
            url="https://hooks.slack.com/services/T1",
            events=("failed",),
            format="slack",
        ),
    )


def test_only_an_import_may_create_without_a_timeout() -> None:
    ordered().when(create(timeout=0)).refused_field("timeout")
    outcome = ordered().while_importing().when(create(timeout=0))
    assert outcome.then(*outcome.events).state.timeout is None


def test_default_timeout_is_stored() -> None:
    assert created(create()).timeout == timedelta(hours=1)
    assert "timeout" in created(create()).model_fields_set


def test_null_in_metadata_is_left_out() -> None:
    event = created(create(metadata={"environment": "test", "team": None, "a": {"b": None}}))
    assert event.metadata == {"environment": "test", "a": {}}


WRONG: dict[str, list[Any]] = {
    "status": ["paused", "completed", 1],
    "progress": [101, -1, "0", True],
    "order": ["", "a b", "x" * 256, None, 7, {}, {"$id": "a b"}, {"$id": None}],
    "priority": ["asap", None],
    "timeout": [-1, 86_400_001, 1.5, "1000", True],
    "tags": [["x"] * 51, [""], ["x" * 256], ["a\nb"], [1], "x"],
    "steps": [
        [{"id": "a"}],
        [{"id": "", "name": "a"}],
        [{"id": "a", "name": "a", "status": "running"}],
        [{"id": "a", "name": "a"}] * 10_001,
    ],
    "metrics": [{"stepsTotal": -1}, {"stepsCompleted": 1}, {"tokensUsed": 1}],
    "assignee": [{"type": "human"}, {"type": "robot", "id": "a", "name": "a"}],
    "retryPolicy": [
        {"maxRetries": 1},
        {"maxRetries": -1, "backoff": "linear", "initialDelay": 1, "maxDelay": 1},
        {"maxRetries": 1, "backoff": "random", "initialDelay": 1, "maxDelay": 1},
        {"maxRetries": 1, "backoff": "linear", "initialDelay": -1, "maxDelay": 1},
        {"maxRetries": 1, "backoff": "linear", "initialDelay": 86_400_001, "maxDelay": 1},
        {"maxRetries": 101, "backoff": "linear", "initialDelay": 1, "maxDelay": 1},
    ],
    "webhooks": [
        [{"url": "ftp://a.example", "events": ["*"]}],
        [{"url": "https://", "events": ["*"]}],
        [{"url": "https://a.example", "events": []}],
        [{"url": "https://a.example", "events": ["*"], "headers": {"a b": "c"}}],
        [{"url": "https://a.example", "events": ["*"], "headers": {"a": "b\r\nc: d"}}],
    ],
    "metadata": [
        {"$sealed": "x"},
        {"a": {"$x": 1}},
        {"a": [{"$x": 1}]},
        {"": 1},
        {"a": "\0"},
        {"environment": 7},
        {"createdAt": "2026-11-22T08:00:00.000Z"},
        [],
    ],
    "result": [{"success": True}],
    "version": [1],
    "customer": ["c-1"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_invalid_value_is_refused_with_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        create(**{field: value})
    assert {error["loc"][0] for error in refusal.value.errors()} == {field}


@pytest.mark.parametrize("output", ["1e999", "-1e999", "NaN", "99999999999999999999"])
def test_content_that_could_not_be_read_back_is_refused(output: str) -> None:
    body = f'{{"success": true, "summary": "", "output": {output}}}'
    with pytest.raises(ValidationError):
        COMMANDS["complete"].model_validate_json(body)


@pytest.mark.parametrize(
    "text", ["4e-10", "0.30000000000000004", "0.1", "1000000000", "1e-30", "0.0036899999999999997"]
)
def test_cost_is_stored_exactly(text: str) -> None:
    usage = RecordUsage.model_validate_json(f'{{"cost": {text}}}')
    assert usage.cost == Decimal(text)


@pytest.mark.parametrize("text", ["-1", '"1"', "1e10", "true", "1e-31", "null", "[]"])
def test_cost_out_of_its_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        RecordUsage.model_validate_json(f'{{"cost": {text}}}')


def test_smallest_cost_is_recorded_and_added_exactly() -> None:
    running = given(*HISTORIES[Status.RUNNING])
    for cost in ("1000000.1", "4e-10", "1e-30"):
        outcome = running.when(RecordUsage(cost=Decimal(cost)))
        running = outcome.then(UsageRecorded(cost=Decimal(cost)))
    assert running.state.used.cost == Decimal("1000000.100000000400000000000000000001")


def test_total_cost_beyond_its_limit_is_refused() -> None:
    running = given(*HISTORIES[Status.RUNNING]).happened(UsageRecorded(cost=Decimal(10**9)))
    running.when(RecordUsage(cost=Decimal("0.01"))).refused_field("cost")


def test_error_is_accepted_in_full_or_as_a_message() -> None:
    whole = b'{"code": "X", "message": "x", "recoverable": true, "retryCount": 0, "stack": "at"}'
    assert FailExecution.model_validate_json(whole).stack == "at"
    assert FailExecution.model_validate_json(b'{"code": "X", "message": "x"}').recoverable is False


@pytest.mark.parametrize(
    ("word", "body"),
    [("startStep", {"step": "a", "called": "A"}), ("recordUsage", {"tokens_used": 1})],
)
def test_every_field_has_one_wire_name(word: str, body: object) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        parse(word, body)


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_has_a_schema_and_refuses_unknown_fields(word: str) -> None:
    schema = COMMANDS[word].model_json_schema()
    assert schema["additionalProperties"] is False
    with pytest.raises(ValidationError):
        parse(word, {"surprise": 1})
