"""`POST /commands`: each command is answered in order, by itself."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from api.access.identity import Caller
from api.access.rights import Role
from domain.writer.message import Message
from tests.support.api_client import JSON, RESULT, Catalog, Executions, ok, refused
from tests.support.callers import admit, caller, client
from tests.support.running_server import Serving

NDJSON = {"Content-Type": "application/x-ndjson"}


def send(api: httpx.Client, *commands: Any, **headers: str) -> list[JSON]:
    response = api.post(
        "/commands",
        json=commands,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    assert response.status_code == 200, response.text
    outcomes: list[JSON] = response.json()
    return outcomes


def test_batch_answers_every_command_in_order_with_its_own_status(
    api: httpx.Client, catalog: Catalog
) -> None:
    ids = {"order": catalog.order, "service": catalog.service}
    created, started, again, step, refusal, unknown, nonsense, no_object, completed = send(
        api,
        {"command": "create", "execution": "many-1", **ids},
        {"command": "start", "execution": "many-1"},
        {"command": "create", "execution": "many-1", **ids},
        {"command": "startStep", "execution": "many-1", "step": "s-1", "name": "Research"},
        {"command": "resume", "execution": "many-1", "checkpointId": "nine"},
        {"command": "start", "execution": "no-such"},
        {"command": "fly", "execution": "many-1"},
        "start",
        {"command": "complete", "execution": "many-1", **RESULT},
    )
    assert created == {
        "status": 201,
        "execution": "many-1",
        "version": 1,
        "position": created["position"],
    }
    assert (started["status"], started["version"]) == (200, 3)
    assert again["problem"]["type"] == "/problems/already-exists"
    assert (step["status"], step["position"]) == (200, created["position"] + 3)
    assert refusal["status"] == 409
    assert (unknown["status"], unknown["execution"]) == (404, "no-such")
    assert nonsense["problem"]["errors"][0]["path"] == "command"
    assert (no_object["status"], no_object["execution"]) == (422, None)
    assert completed["status"] == 200
    assert ok(api.get("/executions/many-1"))["steps"][0]["status"] == "skipped"


def test_create_without_an_id_gets_one(api: httpx.Client, catalog: Catalog) -> None:
    create = {"command": "create", "order": catalog.order, "service": catalog.service}
    (outcome,) = send(api, create)
    assert ok(api.get(f"/executions/{outcome['execution']}"))["status"] == "queued"


def test_ndjson_is_accepted_like_a_list(api: httpx.Client, running_execution: str) -> None:
    lines = [
        {"command": "updateProgress", "execution": running_execution, "progress": progress}
        for progress in (10, 20, 30)
    ]
    body = "\n".join(json.dumps(line) for line in lines) + "\n\n"
    response = api.post("/commands", content=body, headers=NDJSON)
    assert [outcome["version"] for outcome in response.json()] == [4, 5, 6]
    assert ok(api.get(f"/executions/{running_execution}"))["progress"] == 30


def test_batch_command_honours_its_if_match(api: httpx.Client, running_execution: str) -> None:
    first, second, third = send(
        api,
        {"command": "pause", "execution": running_execution, "ifMatch": 3},
        {"command": "resume", "execution": running_execution, "ifMatch": 3},
        {"command": "resume", "execution": running_execution, "ifMatch": -1},
    )
    assert first["status"] == 200
    assert second["problem"]["type"] == "/problems/version-mismatch"
    assert second["problem"]["version"] == 5
    assert third["status"] == 422


def test_batch_of_1000_is_accepted_and_of_1001_refused_whole(
    api: httpx.Client, running_execution: str
) -> None:
    tell = {"command": "recordUsage", "execution": running_execution, "apiCalls": 1}
    assert {outcome["status"] for outcome in send(api, *[tell] * 1_000)} == {200}
    refused(api.post("/commands", json=[tell] * 1_001), 422, "invalid")
    refused(api.post("/commands", json=[]), 422, "invalid")
    shown = ok(api.get(f"/executions/{running_execution}"))
    assert shown["metrics"]["apiCalls"] == 1_000


def test_repeated_batch_records_nothing(
    api: httpx.Client, executions: Executions, catalog: Catalog
) -> None:
    execution = executions.running()
    ids = {"order": catalog.order, "service": catalog.service}
    commands = [
        {"command": "recordUsage", "execution": execution, "apiCalls": 1},
        {"command": "recordUsage", "execution": execution, "apiCalls": 1},
        {"command": "create", "execution": "many-2", **ids},
        {"command": "retry", "execution": execution},
    ]
    first = send(api, *commands, Idempotency_Key="whole-call")
    again = send(api, *commands, Idempotency_Key="whole-call")
    assert first == again
    assert [outcome["status"] for outcome in again] == [200, 200, 201, 409]
    assert ok(api.get(f"/executions/{execution}"))["metrics"]["apiCalls"] == 2


def test_idempotency_key_applies_to_the_whole_batch(
    api: httpx.Client, running_execution: str
) -> None:
    use = {"command": "recordUsage", "execution": running_execution, "apiCalls": 1}
    headers = {"Idempotency-Key": "this-very-call"}
    first = api.post("/commands", json=[use], headers=headers)
    again = api.post("/commands", json=[use], headers=headers)
    other = api.post("/commands", json=[use, use], headers=headers)
    refused(other, 422, "idempotency-key-reused")
    path = f"/executions/{running_execution}/metrics"
    refused(api.post(path, json={"apiCalls": 1}, headers=headers), 422, "idempotency-key-reused")
    assert again.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert ok(api.get(path))["apiCalls"] == 1


def test_batch_answers_the_highest_log_position(api: httpx.Client, running_execution: str) -> None:
    use = {"command": "recordUsage", "execution": running_execution, "apiCalls": 1}
    response = api.post("/commands", json=[use, use, {"command": "fly"}])
    assert response.headers["log-position"] == str(response.json()[1]["position"])


def test_batch_accepts_log_lines_among_commands(
    api: httpx.Client, executions: Executions, catalog: Catalog
) -> None:
    execution = executions.running()
    line = {"command": "log", "execution": execution, "level": "info", "message": "one"}
    ids = {"order": catalog.order, "service": catalog.service}
    made = {"command": "create", "execution": "logged", **ids}
    sent_twice = [
        send(
            api,
            line,
            made,
            line | {"execution": "logged", "message": "two"},
            line | {"level": "loud"},
            line | {"execution": "no-such"},
            line | {"ifMatch": 99},
            line | {"occurredAt": "2999-01-01T00:00:00Z"},
            line | {"context": {"n": 2**64}},
            line | {"context": {"page": "x" * 1_100_000}},
            Idempotency_Key="lines-among-commands",
        )
        for _ in range(2)
    ]
    assert sent_twice[0] == sent_twice[1]
    assert [outcome["status"] for outcome in sent_twice[0]] == [
        *(200, 201, 200, 422, 404, 412),
        *(422, 422, 413),
    ]
    for name, message in ((execution, "one"), ("logged", "two")):
        received = ok(api.get(f"/executions/{name}/logs"))["data"]
        assert [line["message"] for line in received] == [message]


def test_whole_number_beyond_64_bits_is_refused_as_in_a_single_command(
    api: httpx.Client, running_execution: str
) -> None:
    ok(api.post(f"/executions/{running_execution}/steps/s-1/start"))
    command = {"command": "completeStep", "execution": running_execution, "step": "s-1"}
    (outcome,) = send(api, {**command, "output": {"n": 2**64}})
    assert outcome["status"] == 422
    path = f"/executions/{running_execution}/steps/s-1/complete"
    refused(api.post(path, json={"output": {"n": 2**64}}), 422, "invalid")
    shown = ok(api.post(path, json={"output": {"n": 2**63 - 1}}))
    assert shown["steps"][0]["output"] == {"n": 2**63 - 1}


def test_command_that_is_too_large_is_refused_alone(
    api: httpx.Client, running_execution: str
) -> None:
    save = {"command": "checkpoint", "execution": running_execution}
    large, small = send(
        api, {**save, "state": {"page": "x" * 1_100_000}}, {**save, "state": {"page": "x"}}
    )
    assert (large["status"], large["problem"]["type"]) == (413, "/problems/too-large")
    assert small["status"] == 200


def test_commands_of_the_server_are_refused_from_clients(
    api: httpx.Client, running_execution: str
) -> None:
    (outcome,) = send(api, {"command": "timeOut", "execution": running_execution})
    assert outcome["status"] == 422


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"command": "start"}\n\n{"command"}\n\n', "NDJSON: line 3 of 3: "),
        ('{"a": 1}\n{"a": 1234567890123456789012,}', "NDJSON: line 2 of 2: "),
        ("{", "NDJSON: line 1 of 1: "),
        ('[{"command": "start"},\n {"command"}]', "JSON list: "),
        (" [", "JSON list: "),
    ],
)
def test_malformed_batch_is_refused_with_the_path_of_the_error(
    api: httpx.Client, body: str, said: str
) -> None:
    problem = refused(api.post("/commands", content=body, headers=NDJSON), 400, "malformed")
    assert f"malformed {said}" in problem["detail"]
    assert "column" in problem["detail"]
    assert ("line 1 column" in problem["detail"]) is (body == " [")


def statuses_of(server: Serving, who: Caller, commands: list[JSON]) -> list[int]:
    """The status of each command of a batch that a caller sends."""
    admit(server, who)
    with client(server, who) as caller_client:
        answers = caller_client.post("/commands", json=commands).json()
        return [each["status"] for each in answers]


def test_command_of_a_batch_needs_its_own_right(
    server: Serving, executions: Executions, catalog: Catalog
) -> None:
    first, second = (executions.running() for _ in range(2))
    cancel = [{"command": "cancel", "execution": each} for each in (first, second, "no-such")]
    start = [{"command": "start", "execution": each} for each in (first, "no-such")]
    commands = [*cancel, *start]
    auditor = caller(Role.AUDITOR, "batch-auditor")
    assert statuses_of(server, auditor, commands) == [403] * 5
    assert statuses_of(server, caller(Role.CUSTOMER, "stranger"), commands) == [404] * 3 + [403] * 2
    customer = caller(Role.CUSTOMER, catalog.customer)
    assert statuses_of(server, customer, commands) == [200, 200, 404, 403, 403]


def test_batch_sends_no_command_on_hidden_executions_to_the_writer(
    server: Serving,
    executions: Executions,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The writer would load the execution before it refuses, and the time for a large one would reveal it."""
    there, asked = executions.running(), []
    submit = server.system.bus.submit

    def submitted(message: Message) -> Any:
        asked.append(message.stream)
        return submit(message)

    monkeypatch.setattr(server.system.bus, "submit", submitted)
    commands = [{"command": "cancel", "execution": each} for each in (there, "no-such")]
    assert statuses_of(server, caller(Role.CUSTOMER, "another-stranger"), commands) == [404, 404]
    assert asked == []
    new: JSON = {"command": "create", "execution": "batch-own", "order": catalog.order}
    own = [{**new, "service": catalog.service}, {"command": "start", "execution": "batch-own"}]
    assert statuses_of(server, caller(Role.PROVIDER, catalog.provider), own) == [201, 200]
    assert asked == ["execution/batch-own"] * 2


@pytest.mark.parametrize("levels", [130, 1_100])
def test_line_with_too_many_levels_is_refused_alone(
    api: httpx.Client, executions: Executions, levels: int
) -> None:
    made = executions.running()
    deep = b'{"command":"updateProgress","execution":"x","progress":%b}' % (
        b"[" * levels + b"]" * levels
    )
    good = b'{"command":"updateProgress","execution":"%b","progress":5}' % made.encode()
    lines = {"Content-Type": "application/x-ndjson"}
    answer = api.post("/commands", content=deep + b"\n" + good, headers=lines)
    assert [outcome["status"] for outcome in answer.json()] == [422, 200]


def test_list_that_cannot_be_parsed_is_refused_whole(api: httpx.Client) -> None:
    answer = api.post(
        "/commands",
        headers={"Content-Type": "application/json"},
        content=b"[" * 1_100 + b"]" * 1_100,
    )
    [error] = refused(answer, 422, "invalid")["errors"]
    assert "at most 128 levels" in error["message"]
