"""Commands on executions: answers, conditions, and metadata of the events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.api_client import ERROR, JSON, POLICY, RESULT, Catalog, Executions, ok, refused

CONTENT = {
    "start": {},
    "pause": {"state": {"page": 3}},
    "progress": {"progress": 45},
    "complete": RESULT,
    "fail": ERROR,
    "cancel": {"reason": "changed my mind"},
    "metrics": {"tokensUsed": 5},
    "checkpoints": {"state": {"page": 3}},
    "steps": {"steps": [{"id": "s-1", "name": "Research"}]},
    "steps/s-1/start": {"name": "Research"},
}


def events(api: httpx.Client, execution: str) -> list[JSON]:
    page: list[JSON] = ok(api.get(f"/executions/{execution}/events"))["data"]
    return page


def types(api: httpx.Client, execution: str) -> list[str]:
    return [event["type"].removeprefix("execution.") for event in events(api, execution)]


def without_log_lines_and_durations(document: JSON) -> JSON:
    """The document without log lines, which only a single read shows, and without durations that still grow."""
    changing = {"duration", "activeDuration"}
    metrics = {k: value for k, value in document["metrics"].items() if k not in changing}
    return {k: v for k, v in document.items() if not k.startswith("logs")} | {"metrics": metrics}


def test_create_answers_the_whole_execution_and_its_location(
    api: httpx.Client, catalog: Catalog
) -> None:
    response = api.post("/executions", json={"order": catalog.order, "service": catalog.service})
    created = ok(response)
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/executions/{created['$id']}"
    assert response.headers["etag"] == '"1"'
    assert response.headers["log-position"] == str(created["position"])
    assert created["$id"].startswith("exec_")
    assert created["customer"] == catalog.customer
    assert created["provider"] == catalog.provider
    assert created["workflow"] == catalog.workflow
    shown = ok(api.get(response.headers["location"].removeprefix("/api")))
    assert without_log_lines_and_durations(shown) == created


@pytest.mark.parametrize("command", CONTENT)
def test_command_answers_the_whole_execution_after_it(
    api: httpx.Client, queued_execution: str, command: str
) -> None:
    if command != "start":
        ok(api.post(f"/executions/{queued_execution}/start"))
    response = api.post(f"/executions/{queued_execution}/{command}", json=CONTENT[command])
    answered = without_log_lines_and_durations(ok(response))
    assert response.status_code == 200
    assert response.headers["etag"] == f'"{answered["version"]}"'
    assert response.headers["log-position"] == str(answered["position"])
    assert answered == without_log_lines_and_durations(
        ok(api.get(f"/executions/{queued_execution}"))
    )


def test_empty_body_means_an_empty_object(api: httpx.Client, queued_execution: str) -> None:
    assert ok(api.post(f"/executions/{queued_execution}/start"))["status"] == "running"


def test_steps_are_accepted_as_a_list_or_as_a_member(
    api: httpx.Client, queued_execution: str
) -> None:
    path, plans = f"/executions/{queued_execution}/steps", [{"id": "s-1", "name": "Research"}]
    listed = ok(api.post(path, json=plans))
    assert [step["id"] for step in listed["steps"]] == ["s-1"]
    named = {"steps": [*plans, {"id": "s-2", "name": "Send"}]}
    assert [step["id"] for step in ok(api.post(path, json=named))["steps"]] == ["s-1", "s-2"]


@pytest.mark.parametrize(
    ("steps", "path"), [([], "steps"), ([{"id": "s-1"}], "steps.0.name"), ([7], "steps.0")]
)
def test_list_of_values_that_are_not_steps_is_refused(
    api: httpx.Client, queued_execution: str, steps: list[Any], path: str
) -> None:
    response = api.post(f"/executions/{queued_execution}/steps", json=steps)
    assert refused(response, 422, "invalid")["errors"][0]["path"] == path


def test_equal_repeated_command_answers_200_and_records_nothing(
    api: httpx.Client, paused_execution: str
) -> None:
    before = ok(api.get(f"/executions/{paused_execution}"))
    body = {"state": {"page": 3}, "reason": "lunch"}
    again = ok(api.post(f"/executions/{paused_execution}/pause", json=body))
    assert (again["version"], again["position"]) == (before["version"], before["position"])


def test_illegal_transition_names_the_allowed_commands(
    api: httpx.Client, queued_execution: str
) -> None:
    problem = refused(
        api.post(f"/executions/{queued_execution}/complete", json=RESULT), 409, "illegal-transition"
    )
    assert problem["currentStatus"] == "queued"
    assert "start" in problem["allowedCommands"]
    assert "complete" not in problem["allowedCommands"]
    assert problem["instance"] == f"/api/executions/{queued_execution}/complete"


def test_creation_with_an_existing_id_is_refused(
    api: httpx.Client, catalog: Catalog, executions: Executions
) -> None:
    executions.create(**{"$id": "mine"})
    body = {"$id": "mine", "order": catalog.order, "service": catalog.service}
    refused(api.post("/executions", json=body), 409, "already-exists")


@pytest.mark.parametrize("field", ["order", "service"])
def test_unknown_reference_is_refused(api: httpx.Client, catalog: Catalog, field: str) -> None:
    body = {"order": catalog.order, "service": catalog.service, field: "no-such"}
    assert refused(api.post("/executions", json=body), 422, "unknown-reference")["field"] == field


@pytest.mark.parametrize("status", ["starting", "completed", "retry", "nonsense"])
def test_execution_is_created_only_queued_or_running(
    api: httpx.Client, catalog: Catalog, status: str
) -> None:
    body = {"order": catalog.order, "service": catalog.service, "status": status}
    problem = refused(api.post("/executions", json=body), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["status"]


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/executions/no-such", "execution"),
        ("GET", "/executions/no-such/events", "execution"),
        ("PATCH", "/executions/no-such", "execution"),
        ("POST", "/executions/no-such/start", "execution"),
        ("POST", "/orders/no-such/cancel", "order"),
        ("POST", "/orders/no-such/confirm", "order"),
        ("GET", "/orders/no-such", "order"),
    ],
)
def test_reads_and_commands_answer_alike_for_missing_objects(
    api: httpx.Client, method: str, path: str, kind: str
) -> None:
    problem = refused(api.request(method, path, json={}), 404, "not-found")
    assert problem["detail"] == f"There is no such {kind}."


def test_if_match_admits_only_the_named_version(api: httpx.Client, running_execution: str) -> None:
    path, body = f"/executions/{running_execution}/progress", {"progress": 10}
    stale = api.post(path, json=body, headers={"If-Match": '"1"'})
    assert refused(stale, 412, "version-mismatch")["version"] == 3
    assert stale.headers["etag"] == '"3"'
    for header in ('"3"', 'W/"4"', "*", '"3", "6"', '"7","3"'):
        body["progress"] += 1
        ok(api.post(path, json=body, headers={"If-Match": header}))
    stale = api.post(path, json=body, headers={"If-Match": '"3", "7"'})
    refused(stale, 412, "version-mismatch")
    for header in ("3", '"3", 8', '"8" "9"', '"8", *', ""):
        refused(api.post(path, json=body, headers={"If-Match": header}), 422, "invalid")


def test_create_with_if_match_0_needs_a_new_execution(api: httpx.Client, catalog: Catalog) -> None:
    body = {"order": catalog.order, "service": catalog.service}
    refused(
        api.post("/executions", json=body, headers={"If-Match": '"1"'}), 412, "version-mismatch"
    )


def test_prefer_minimal_answers_only_the_location(
    api: httpx.Client, running_execution: str
) -> None:
    response = api.post(
        f"/executions/{running_execution}/progress",
        json={"progress": 10},
        headers={"Prefer": "respond-async, return=minimal"},
    )
    assert ok(response).keys() == {"$id", "status", "version", "position"}
    assert response.headers["preference-applied"] == "return=minimal"


def test_occurred_at_is_stored_beside_the_recorded_time(
    api: httpx.Client, running_execution: str
) -> None:
    earlier = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds")
    body = {"progress": 10, "occurredAt": earlier}
    ok(api.post(f"/executions/{running_execution}/progress", json=body))
    received = events(api, running_execution)[-1]
    assert received["occurredat"] == earlier.replace("+00:00", "Z")
    assert received["time"] > received["occurredat"]


def test_occurred_at_in_the_future_is_refused(api: httpx.Client, running_execution: str) -> None:
    body = {"occurredAt": (datetime.now(UTC) + timedelta(minutes=1)).isoformat()}
    response = api.post(f"/executions/{running_execution}/start", json=body)
    problem = refused(response, 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["occurredAt"]


def test_correlation_and_causation_are_stored_with_every_event(
    api: httpx.Client, queued_execution: str
) -> None:
    headers = {"X-Correlation-Id": "trace-7", "X-Causation-Id": "cause-8"}
    ok(api.post(f"/executions/{queued_execution}/start", headers=headers))
    received = events(api, queued_execution)[1:]
    assert [event["type"] for event in received] == ["execution.starting", "execution.started"]
    assert {(event["correlationid"], event["causationid"]) for event in received} == {
        ("trace-7", "cause-8")
    }
    assert {event["actor"] for event in received} == {"admin"}


def test_traceparent_is_the_correlation_when_none_is_given(
    api: httpx.Client, queued_execution: str
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    ok(api.post(f"/executions/{queued_execution}/start", headers=headers))
    assert events(api, queued_execution)[-1]["correlationid"] == trace


def test_invalid_correlation_is_refused(api: httpx.Client, queued_execution: str) -> None:
    for label in ("", "two words", "x" * 129):
        headers = {"X-Correlation-Id": label}
        refused(api.post(f"/executions/{queued_execution}/start", headers=headers), 422, "invalid")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_update_changes_only_the_given_fields_and_null_clears(
    api: httpx.Client, executions: Executions, method: str
) -> None:
    tags = {"tags": ["eu"], "priority": "high", "retryPolicy": POLICY}
    execution = executions.create(metadata={"region": "north", "shop": "a"}, **tags)["$id"]
    change: dict[str, Any] = {"priority": "urgent", "retryPolicy": None, "metadata": {"shop": None}}
    changed = ok(api.request(method, f"/executions/{execution}", json=change))
    assert changed["priority"] == "urgent"
    assert "retryPolicy" not in changed
    assert changed["tags"] == ["eu"]
    assert changed["metadata"]["region"] == "north"
    assert "shop" not in changed["metadata"]


def test_update_of_the_status_is_handled_as_the_command_for_it(
    api: httpx.Client, queued_execution: str
) -> None:
    for status in ("running", "paused", "running", "cancelled"):
        changed = ok(api.put(f"/executions/{queued_execution}", json={"status": status}))
        assert changed["status"] == status
    assert types(api, queued_execution) == [
        *("created", "starting", "started", "checkpoint", "paused", "resumed", "cancelled")
    ]


def test_resume_answers_the_whole_checkpoint(api: httpx.Client, paused_execution: str) -> None:
    resumed = ok(api.post(f"/executions/{paused_execution}/resume"))
    assert resumed["status"] == "running"
    assert resumed["checkpoints"][-1]["state"] == {"page": 3}
    assert events(api, paused_execution)[-1]["data"] == {"checkpoint": "cp-1"}


def test_recoverable_failure_is_retried_by_the_policy(
    api: httpx.Client, retrying_execution: str
) -> None:
    shown = ok(api.get(f"/executions/{retrying_execution}"))
    assert shown["status"] == "retry"
    assert shown["nextRetryAt"] > shown["metadata"]["updatedAt"]
    assert types(api, retrying_execution)[-2:] == ["failed", "retry"]
    started = ok(api.post(f"/executions/{retrying_execution}/start"))
    assert (started["status"], started["metrics"]["retries"]) == ("running", 1)


def test_confirmed_order_has_one_execution_with_the_steps_of_its_workflow(
    api: httpx.Client, catalog: Catalog
) -> None:
    order = {"service": catalog.service, "customer": catalog.customer}
    identity = ok(api.post("/orders", json=order))["$id"]
    first = api.post(f"/orders/{identity}/confirm")
    again = api.post(f"/orders/{identity}/confirm", json={})
    assert ok(first)["status"] == "confirmed"
    assert ok(first)["execution"] == ok(again)["execution"]
    assert first.headers["location"] == f"/api/executions/{ok(first)['execution']}"
    execution = ok(api.get(first.headers["location"].removeprefix("/api")))
    assert [step["id"] for step in execution["steps"]] == ["research", "send"]
    assert execution["order"] == identity


def test_server_log_line_of_an_end_is_in_the_next_read(
    api: httpx.Client, executions: Executions
) -> None:
    for _ in range(5):
        execution = executions.running()
        ok(api.post(f"/executions/{execution}/complete", json=RESULT))
        shown = ok(api.get(f"/executions/{execution}"))
        assert [line["message"] for line in shown["logs"]] == ["Request completed"]
        assert shown["logsTotal"] == 1


def test_position_of_a_confirmation_includes_its_execution(
    api: httpx.Client, catalog: Catalog
) -> None:
    ordered = {"$id": "to-confirm", "service": catalog.service, "customer": catalog.customer}
    ok(api.post("/orders", json=ordered))
    confirmed = api.post("/orders/to-confirm/confirm")
    position = int(confirmed.headers["log-position"])
    shown = ok(api.get(f"/executions/{confirmed.json()['execution']}"))
    assert shown["position"] == position - 1


def test_document_at_a_version_shows_no_later_log_lines(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/logs"
    line = {"level": "info", "message": "one"}
    refused(api.post(path, json=line, headers={"If-Match": '"99"'}), 412, "version-mismatch")
    ok(api.post(path, json=line, headers={"If-Match": '"3"'}))
    late = {**line, "timestamp": "2999-01-01T00:00:00Z"}
    assert refused(api.post(path, json=late), 422, "invalid")["errors"][0]["path"] == "timestamp"
    ok(api.post(path, json={**line, "occurredAt": "2026-01-01T00:00:00Z"}))
    received = ok(api.get(path))["data"]
    assert received[0]["timestamp"] == "2026-01-01T00:00:00.000Z"
