"""Values in requests: null, zero, documents sent back, duplicate keys, depth, exact numbers; dry runs and asynchronous starts."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from api.routes import command_batch
from api.web.input.command_body import build
from api.web.input.json_text import DEEPEST
from tests.support.api_client import JSON, POLICY, Catalog, Executions, ok, recorded_event, refused

HOOK = {
    "url": "https://hooks.example/hook",
    "events": ["completed"],
    "headers": {"X-Key": "secret"},
}
ORDER_OF_MEMBERS = [
    "$type",
    "$id",
    "order",
    "service",
    "workflow",
    "customer",
    "provider",
    "status",
    "progress",
    "assignee",
    "result",
    "error",
    "cancellation",
    "pause",
    "steps",
    "checkpoints",
    "resumedFrom",
    "attempts",
    "nextRetryAt",
    "heartbeatTimeout",
    "lastHeartbeatAt",
    "stalled",
    "claimedBy",
    "metrics",
    "logs",
    "logsTotal",
    "priority",
    "timeout",
    "retryPolicy",
    "webhooks",
    "tags",
    "metadata",
    "version",
    "position",
]


def position(api: httpx.Client) -> int:
    return int(api.get("/readyz").json()["position"])


def raw(api: httpx.Client, path: str, body: bytes) -> httpx.Response:
    return api.post(path, content=body, headers={"Content-Type": "application/json"})


def many(api: httpx.Client, commands: list[JSON]) -> list[JSON]:
    outcomes: list[JSON] = api.post("/commands", json=commands).json()
    return outcomes


def nested_value(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_null_is_the_default_of_every_member_of_a_creation(executions: Executions) -> None:
    plain = executions.create()
    nulls = dict.fromkeys(
        [
            "status",
            "progress",
            "assignee",
            "steps",
            "metrics",
            "priority",
            "timeout",
            "retryPolicy",
            "webhooks",
            "tags",
            "metadata",
            "occurredAt",
            "$id",
            "$type",
        ]
    )
    same = executions.create(**nulls)
    for name in ("status", "progress", "priority", "timeout", "tags", "webhooks", "steps"):
        assert same[name] == plain[name]
    assert (
        executions.create(retryPolicy=POLICY | {"jitter": None})["retryPolicy"]["jitter"] == "none"
    )
    step = {"id": "a", "name": "A", "status": None, "assignee": None}
    assert executions.create(steps=[step])["steps"][0]["status"] == "pending"


def test_null_in_an_update_clears_to_the_default(api: httpx.Client, executions: Executions) -> None:
    made = executions.create(timeout=1_000, priority="high", tags=["a"], retryPolicy=POLICY)
    nulls = {"timeout": None, "priority": None, "tags": None, "retryPolicy": None, "status": None}
    shown = ok(api.patch(f"/executions/{made['$id']}", json=nulls))
    assert (shown["timeout"], shown["priority"], shown["tags"]) == (3_600_000, "normal", [])
    assert "retryPolicy" not in shown


@pytest.mark.parametrize("path", ["fail", "metrics", "logs", "cancel"])
def test_null_is_the_default_of_every_member_of_a_command(
    api: httpx.Client, running_execution: str, path: str
) -> None:
    bodies: dict[str, JSON] = {
        "fail": {"code": "X", "message": "Y", "recoverable": None, "retryCount": None},
        "metrics": {"tokensUsed": 1, "cost": None, "apiCalls": None, "model": None},
        "logs": {"level": "info", "message": "x", "context": None, "timestamp": None},
        "cancel": {"reason": None},
    }
    ok(api.post(f"/executions/{running_execution}/{path}", json=bodies[path]))


def test_timeout_of_0_is_no_limit_and_shown_as_null(executions: Executions) -> None:
    shown = executions.create(timeout=0)  # the administrator has the right to import
    assert shown["timeout"] is None
    assert list(shown).count("timeout") == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    "fixture",
    [
        "queued_execution",
        "running_execution",
        "paused_execution",
        "completed_execution",
        "failed_execution",
        "retrying_execution",
        "cancelled_execution",
    ],
)
def test_document_just_read_may_be_sent_back(
    api: httpx.Client, request: pytest.FixtureRequest, fixture: str, method: str
) -> None:
    path = f"/executions/{request.getfixturevalue(fixture)}"
    read = ok(api.get(path))
    sent = ok(api.request(method, path, json=read))
    assert sent["version"] == read["version"]
    changed = read | {"tags": ["new"], "metadata": read["metadata"] | {"team": "x"}}
    shown = ok(api.request(method, path, json=changed))
    assert shown["version"] == read["version"] + 1
    assert (shown["tags"], shown["metadata"]["team"]) == (["new"], "x")


def test_expanded_document_without_timeout_and_with_secrets_may_be_sent_back(
    api: httpx.Client, executions: Executions
) -> None:
    path = f"/executions/{executions.running(webhooks=[HOOK], timeout=0)}"
    ok(api.post(f"{path}/steps/a/start", json={}))
    read = ok(api.get(f"{path}?expand=order,service,customer,provider"))
    assert ok(api.put(path, json=read))["version"] == read["version"]


def test_all_changed_members_of_the_server_are_named_in_the_refusal(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}"
    read = ok(api.get(path))
    metadata = read["metadata"] | {"createdAt": "2020-01-01T00:00:00.000Z"}
    body = read | {"customer": "other", "steps": [{"id": "a"}], "metadata": metadata}
    problem = refused(api.put(path, json=body), 422, "read-only")
    paths = [error["path"] for error in problem["errors"]]
    assert paths == ["customer", "steps", "metadata.createdAt"]
    refused(api.patch(path, json={"$type": "Service"}), 422, "read-only")
    refused(api.patch(path, json={"version": read["version"] + 1}), 422, "read-only")
    assert ok(api.get(path))["version"] == read["version"]
    refused(api.put("/executions/no-such", json=read), 404, "not-found")


@pytest.mark.parametrize("type_", ["User", 5, None])
def test_reference_to_another_type_is_refused(
    api: httpx.Client, catalog: Catalog, type_: object
) -> None:
    service = {"$id": catalog.service, "$type": type_}
    body = {"order": {"$id": catalog.order, "$type": "ServiceOrder"}, "service": service}
    [error] = refused(api.post("/executions", json=body), 422, "invalid")["errors"]
    assert (error["path"], "must be a Service" in error["message"]) == ("service", True)


@pytest.mark.parametrize(
    "given", [{"success": 1}, {"output": {"z": True}}], ids=["outcome", "within the output"]
)
def test_true_is_not_accepted_as_1_in_members_of_the_server(
    api: httpx.Client, executions: Executions, given: dict[str, Any]
) -> None:
    made = executions.running()
    read = executions.tell(made, "complete", success=True, output={"z": 1}, summary="done")
    same = read | {"result": read["result"] | {"output": {"z": 1.0}}}
    assert ok(api.put(f"/executions/{made}", json=same))["version"] == read["version"]
    changed = read | {"result": read["result"] | given}
    problem = refused(api.put(f"/executions/{made}", json=changed), 422, "read-only")
    assert [error["path"] for error in problem["errors"]] == ["result"]


def test_type_of_another_resource_is_refused(api: httpx.Client, catalog: Catalog) -> None:
    user = {"name": "Ann", "kind": "person"}
    order = {"order": catalog.order, "service": catalog.service}
    for path, body in (("/users", user), ("/executions", order)):
        problem = refused(api.post(path, json=body | {"$type": "Service"}), 422, "invalid")
        assert [error["path"] for error in problem["errors"]] == ["$type"]
    hook = {"url": "http://127.0.0.1:9/", "$type": "ServiceExecution"}
    refused(api.post("/webhooks", json=hook), 422, "invalid")
    ok(api.post("/webhooks", json=hook | {"$type": "Webhook"}))
    hold = {"service": catalog.service, "reason": "claim", "$type": "Hold"}
    refused(api.post("/holds", json=hold), 422, "invalid")
    held = ok(api.post("/holds", json=hold | {"$type": "LegalHold"}))
    ok(api.request("DELETE", f"/holds/{held['$id']}", json={"reason": "over"}))
    ok(api.post("/users", json=user | {"$type": "User", "$context": "https://schema.org"}))
    made = [{"command": "create", "$type": "Order", **order}]
    assert many(api, made)[0]["status"] == 422


def test_duplicate_json_key_is_malformed_in_every_body(
    api: httpx.Client, running_execution: str
) -> None:
    before = position(api)
    path = f"/executions/{running_execution}"
    for place, body in (
        (f"{path}/progress", b'{"progress": 1, "progress": 2}'),
        (f"{path}/checkpoints", b'{"state": {"a": 1, "a": 2}}'),
        (f"{path}/steps/s/start", b'{"name": "A", "name": "B"}'),
        (f"{path}/logs", b'{"level": "info", "level": "warn", "message": "x"}'),
        ("/executions", b'{"order": "a", "order": "b"}'),
        ("/executions/find", b'{"status": "running", "status": "queued"}'),
        ("/users", b'{"name": "A", "name": "B"}'),
        ("/orders/order-123/confirm", b'{"execution": "a", "execution": "b"}'),
        ("/commands", b'[{"command": "start", "command": "cancel"}]'),
    ):
        problem = refused(raw(api, place, body), 400, "malformed")
        assert "is given twice in one object" in problem["detail"], place
    lines = b'{"command": "start"}\n{"command": "start", "command": "cancel"}'
    assert "line 2 of 2" in refused(raw(api, "/commands", lines), 400, "malformed")["detail"]
    assert position(api) == before


def test_value_at_the_depth_limit_is_accepted_and_shown(
    api: httpx.Client, running_execution: str
) -> None:
    path, state = f"/executions/{running_execution}", nested_value(DEEPEST - 1)
    ok(api.post(f"{path}/checkpoints", json={"state": state}))
    ok(api.patch(path, json={"metadata": state}))
    ok(api.post(f"{path}/steps/a/start", json={"input": state}))
    ok(api.post(f"{path}/logs", json={"level": "info", "message": "m", "context": state}))
    shown = ok(api.get(path))
    assert shown["checkpoints"][0]["state"] == shown["steps"][0]["input"] == state
    ok(api.get(f"{path}/events?include=execution"))
    ok(api.get(f"{path}/diff?from=1&to={shown['version']}"))


def test_value_beyond_the_depth_limit_is_refused_only_for_its_command(
    api: httpx.Client, running_execution: str
) -> None:
    path, state = f"/executions/{running_execution}", nested_value(DEEPEST)
    for place, body in (
        ("checkpoints", {"state": state}),
        ("logs", {"level": "info", "message": "m", "context": state}),
        ("steps/a/start", {"input": nested_value(300)}),
    ):
        refused(api.post(f"{path}/{place}", json=body), 422, "invalid")
    refused(api.patch(path, json={"metadata": nested_value(300)}), 422, "invalid")
    one = {"execution": running_execution}
    commands = [
        one | {"command": "updateProgress", "progress": 1},
        one | {"command": "checkpoint", "state": nested_value(300)},
        one | {"command": "log", "level": "info", "message": "m", "context": state},
        one | {"command": "updateProgress", "progress": 2},
    ]
    for sent in (
        api.post("/commands", json=commands),
        raw(api, "/commands", "\n".join(map(json.dumps, commands)).encode()),
    ):
        assert [outcome["status"] for outcome in sent.json()] == [200, 422, 422, 200]


def test_unexpected_error_in_a_batch_affects_only_its_command(
    api: httpx.Client, running_execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(command: Any, fields: Any) -> Any:
        if fields.get("reason") == "break":
            raise RuntimeError("an error that nobody expected")
        return build(command, fields)

    monkeypatch.setattr(command_batch, "build", fail)
    one = {"execution": running_execution}
    outcomes = many(
        api,
        [
            one | {"command": "updateProgress", "progress": 5},
            one | {"command": "cancel", "reason": "break"},
            one | {"command": "updateProgress", "progress": 6},
        ],
    )
    assert [outcome["status"] for outcome in outcomes] == [200, 500, 200]


def test_costs_are_shown_as_they_were_sent(api: httpx.Client, running_execution: str) -> None:
    path = f"/executions/{running_execution}"
    assert ok(api.get(path))["metrics"]["cost"] == 0
    assert '"cost":0,' in api.get(path).text
    for cost in ("4e-10", "0.30000000000000004", "2.0"):
        ok(raw(api, f"{path}/metrics", f'{{"cost": {cost}}}'.encode()))
    assert '"cost":2.3000000004000000' in api.get(path).text
    events = ok(api.get(f"{path}/events?types=execution.usage"))["data"]
    assert [event["data"]["cost"] for event in events] == [4e-10, 0.30000000000000004, 2]
    assert '"cost":2}' in api.get(f"{path}/events?types=execution.usage").text


def test_selected_members_and_rows_of_csv_have_all_digits_of_a_cost(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}"
    for cost in ("123456789.12345678", "0.0000000012"):
        after = ok(raw(api, f"{path}/metrics", f'{{"cost": {cost}}}'.encode()))
    here = f"$id={running_execution}&minPosition={after['position']}"
    for query in ("fields=metrics.cost", "fields=metrics", "expand=order&fields=metrics.cost"):
        for url in (f"{path}?{query}", f"/executions?{here}&{query}"):
            assert '"cost":123456789.1234567812' in api.get(url).text, url
    assert ",123456789.1234567812," in api.get(f"/executions.csv?{here}").text


def test_cost_with_too_many_digits_is_refused_and_not_rounded(
    api: httpx.Client, running_execution: str
) -> None:
    path, before = f"/executions/{running_execution}", position(api)
    body = b'{"cost": 0.1000000000000000000001}'
    problem = refused(raw(api, f"{path}/metrics", body), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["cost"]
    usage = b'{"success": true, "summary": "", "usage": {"cost": 123456789.1234567891}}'
    problem = refused(raw(api, f"{path}/complete", usage), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["usage.cost"]
    one = b'[{"command": "recordUsage", "execution": "%b", "cost": 0.1000000000000000000001}]'
    assert raw(api, "/commands", one % running_execution.encode()).json()[0]["status"] == 422
    assert position(api) == before
    output = b'{"success": true, "summary": "", "output": {"cost": 0.1000000000000000000001}}'
    ok(raw(api, f"{path}/complete", output))


def test_whole_numbers_have_no_fraction_in_documents_and_events(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}"
    assert '"progress":50,' in raw(api, f"{path}/progress", b'{"progress": 50.0}').text
    assert '"progress":50}' in api.get(f"{path}/events?types=execution.progress").text
    assert '"totalCost":0,' in api.get("/analytics/executions?customer=nobody").text


@pytest.mark.parametrize("how", ["running", "completed", "failed", "retrying", "cancelled"])
def test_members_are_in_the_order_of_the_tables(
    api: httpx.Client, request: pytest.FixtureRequest, how: str
) -> None:
    path = f"/executions/{request.getfixturevalue(f'{how}_execution')}"
    ok(api.patch(path, json={"metadata": {"zone": 1, "version": "2", "environment": "test"}}))
    read = ok(api.get(path))
    listed = ok(api.post("/executions/find", json={"$id": read["$id"]}))
    for shown in (read, *listed["data"]):
        assert list(shown) == [name for name in ORDER_OF_MEMBERS if name in shown]
    metadata = [n for n in read["metadata"] if not n.endswith("At")]
    assert metadata == ["environment", "version", "zone"]
    if "error" in read:
        assert list(read["error"]) == ["code", "message", "recoverable", "retryCount"]
    if "cancellation" in read:
        assert list(read["cancellation"]) == ["reason", "by", "at"]


def test_catalog_list_shows_entries_equal_to_single_reads(
    api: httpx.Client, catalog: Catalog
) -> None:
    place = ok(api.get("/readyz"))["position"]
    for path, identity in (("workflows", catalog.workflow), ("services", catalog.service)):
        alone = api.get(f"/{path}/{identity}").text
        assert alone in api.get(f"/{path}?minPosition={place}").text


def test_step_may_be_named_by_id_in_the_body(api: httpx.Client, running_execution: str) -> None:
    path = f"/executions/{running_execution}"
    body = {"id": "research", "name": "Research", "assignee": {"type": "ai-agent"}}
    ok(api.post(f"{path}/steps/research/start", json=body))
    ok(api.post(f"{path}/steps/research/complete", json={"id": "research", "step": "research"}))
    problem = refused(api.post(f"{path}/steps/b/start", json={"id": "c"}), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["id"]
    one = {"command": "startStep", "execution": running_execution}
    several = [one | {"id": "x"}, one | {"id": "y", "step": "y"}, one | {"id": "y", "step": "z"}]
    outcomes = many(api, several)
    assert [outcome["status"] for outcome in outcomes] == [200, 200, 422]
    assert [step["id"] for step in ok(api.get(path))["steps"]] == ["research", "x", "y"]


@pytest.mark.parametrize(
    ("command", "types", "status"),
    [
        ("start", ["execution.starting", "execution.started"], "running"),
        ("cancel", ["execution.cancelled"], "cancelled"),
    ],
)
def test_dry_run_answers_the_events_and_records_nothing(
    api: httpx.Client, queued_execution: str, command: str, types: list[str], status: str
) -> None:
    path, before = f"/executions/{queued_execution}", position(api)
    body = {"reason": "secret"} if command == "cancel" else {}
    key = {"Idempotency-Key": f"dry-{command}"}
    dry = ok(api.post(f"{path}/{command}?dryRun=true", json=body, headers=key))
    assert [event["type"] for event in dry["events"]] == types
    assert dry["execution"]["status"] == status
    assert not {"id", "position"} & dry["events"][0].keys()
    assert position(api) == before
    done = ok(api.post(f"{path}/{command}", json=body, headers=key))
    assert done["version"] == dry["execution"]["version"]
    data = [event["data"] for event in ok(api.get(f"{path}/events"))["data"][1:]]
    assert [event["data"] for event in dry["events"]] == data


def test_dry_run_is_refused_as_its_command_would_be(
    api: httpx.Client, completed_execution: str
) -> None:
    path = f"/executions/{completed_execution}"
    refused(api.post(f"{path}/start?dryRun=true"), 409, "illegal-transition")
    patched = api.patch(f"{path}?dryRun=true", json={"tags": ["a"]}, headers={"If-Match": '"1"'})
    refused(patched, 412, "version-mismatch")
    refused(api.post(f"{path}/start?dryRun=maybe"), 422, "invalid")
    refused(api.post("/commands?dryRun=true", json=[]), 422, "invalid")


def test_dry_run_of_a_creation_creates_nothing(api: httpx.Client, catalog: Catalog) -> None:
    body = {"$id": "dry", "order": catalog.order, "service": catalog.service}
    dry = ok(api.post("/executions?dryRun=true", json=body | {"metadata": {"a": 1}}))
    assert (dry["execution"]["$id"], dry["execution"]["version"]) == ("dry", 1)
    refused(api.get("/executions/dry"), 404, "not-found")
    order = {"service": catalog.service, "customer": catalog.customer, "params": {"leads": 3}}
    dry = ok(api.post("/orders?dryRun=true", json=order))
    assert dry["events"][0]["data"]["params"] == dry["order"]["params"] == {"leads": 3}


def test_asynchronous_start_stays_starting_until_the_worker_starts(
    api: httpx.Client, queued_execution: str, retrying_execution: str
) -> None:
    for execution in (queued_execution, retrying_execution):
        path = f"/executions/{execution}/start"
        first = ok(api.post(f"{path}?async=true"))
        assert first["status"] == "starting"
        assert ok(api.post(f"{path}?async=true"))["version"] == first["version"]
        assert ok(api.post(path))["status"] == "running"
    one = [{"command": "start", "execution": execution, "async": True}]
    assert many(api, one)[0]["status"] == 200


def test_cancelled_order_does_not_change_its_execution(api: httpx.Client, catalog: Catalog) -> None:
    order = {"service": catalog.service, "customer": catalog.customer, "params": {"leads": 3}}
    path = f"/orders/{ok(api.post('/orders', json=order))['$id']}"
    execution = ok(api.post(f"{path}/confirm"))["execution"]
    shown = ok(api.post(f"{path}/cancel", json={"reason": "not needed"}))
    assert (shown["status"], shown["execution"]) == ("cancelled", execution)
    assert shown["cancellation"]["reason"] == "not needed"
    assert ok(api.get(f"/executions/{execution}"))["status"] == "queued"
    again = ok(api.post(f"{path}/cancel", json={"reason": "not needed"}))
    assert again["version"] == shown["version"]
    for command, body in (("cancel", {"reason": "other"}), ("confirm", {})):
        problem = refused(api.post(f"{path}/{command}", json=body), 409, "illegal-transition")
        assert (problem["currentStatus"], problem["allowedCommands"]) == ("cancelled", [])


@pytest.mark.parametrize("body", [{"reason": "not needed"}, {}])
def test_cancelled_order_shows_why_by_whom_and_when(
    api: httpx.Client, catalog: Catalog, body: JSON
) -> None:
    order = {"service": catalog.service, "customer": catalog.customer}
    path = f"/orders/{ok(api.post('/orders', json=order))['$id']}"
    assert "cancellation" not in ok(api.get(path))
    cancelled = ok(api.post(f"{path}/cancel", json=body))
    shown = ok(api.get(path))
    event = json.loads(recorded_event(api, cancelled["position"]).removeprefix("data: "))
    assert shown["cancellation"] == {**body, "by": "admin", "at": event["time"]}
    listed = ok(api.get(f"/orders?minPosition={cancelled['position']}&limit=500"))["data"]
    assert [each for each in listed if each["$id"] == shown["$id"]] == [shown]


def test_order_params_are_sealed_and_shown(
    api: httpx.Client, catalog: Catalog, server: Any
) -> None:
    import psycopg

    order = {"service": catalog.service, "customer": catalog.customer, "params": {"a": "s3cret-p"}}
    response = api.post("/orders", json=order)
    made, place = ok(response), response.headers["log-position"]
    assert made["params"] == {"a": "s3cret-p"}
    listed = ok(api.get(f"/orders?minPosition={place}&limit=500"))["data"]
    assert [item["params"] for item in listed if item["$id"] == made["$id"]] == [{"a": "s3cret-p"}]
    with psycopg.connect(server.conninfo, options="-c search_path=executions") as connection:
        for query in (
            "SELECT state FROM events WHERE topic = 'order.created'",
            "SELECT shown FROM catalog",
            "SELECT state FROM catalog",
            "SELECT document::text FROM catalog",
        ):
            assert "s3cret-p" not in str(connection.execute(query.encode()).fetchall()), query


def test_largest_and_smallest_stored_integers_can_be_searched(
    api: httpx.Client, executions: Executions
) -> None:
    for number in (-(2**63), 2**63 - 1):
        made = executions.create(metadata={"bound": number})
        found = api.post(
            f"/executions/find?minPosition={made['position']}", json={"metadata.bound": number}
        )
        assert [item["$id"] for item in ok(found)["data"]] == [made["$id"]]
        found = api.get(f"/executions?metadata.bound={number}")
        assert [item["$id"] for item in ok(found)["data"]] == [made["$id"]]


def test_problem_code_is_explained_with_cause_and_cure(api: httpx.Client) -> None:
    explained = ok(api.get("/problems/read-only"))
    assert list(explained) == ["code", "status", "title", "cause", "cure"]
    assert "read-only" in api.get("/problems/nonsense").json()["detail"]


def test_refusal_detail_names_field_rule_and_value(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}"
    problem = refused(api.post(f"{path}/progress", json={"progress": 101}), 422, "invalid")
    assert problem["detail"] == "`progress` must be a number from 0 to 100, but is 101."
    assert list(problem) == ["type", "title", "status", "detail", "instance", "errors"]


def test_mistyped_event_type_is_refused_with_the_nearest_name(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/events"
    for typed, meant in (
        ("execution.step.complete", "execution.step.completed"),
        ("pogress", "execution.progress"),
    ):
        problem = refused(api.get(f"{path}?types={typed}"), 422, "invalid")
        assert f"did you mean `{meant}`" in problem["detail"]
        assert problem["detail"].endswith("?")
