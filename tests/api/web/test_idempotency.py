"""A request that is repeated with the same Idempotency-Key gets the first answer again, and records nothing."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.api_client import RESULT, Catalog, ok, refused
from tests.support.running_server import AUTHORIZED, Serving


def key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


@pytest.fixture
def creation(catalog: Catalog) -> dict[str, str]:
    return {"order": catalog.order, "service": catalog.service}


def test_repeated_creation_answers_the_same_execution(
    api: httpx.Client, creation: dict[str, str]
) -> None:
    first = api.post("/executions", json=creation, headers=key("create"))
    again = api.post("/executions", json=creation, headers=key("create"))
    assert (first.status_code, again.status_code) == (201, 201)
    assert ok(first) == ok(again)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    for header in ("etag", "location", "log-position"):
        assert first.headers[header] == again.headers[header]


def test_repeated_key_answers_the_state_of_the_first_answer(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/progress"
    first = ok(api.post(path, json={"progress": 10}, headers=key("then")))
    ok(api.post(path, json={"progress": 20}))
    again = ok(api.post(path, json={"progress": 10}, headers=key("then")))
    assert again == first
    assert ok(api.get(f"/executions/{running_execution}"))["progress"] == 20


def test_repeated_key_repeats_a_refusal(api: httpx.Client, queued_execution: str) -> None:
    path = f"/executions/{queued_execution}/complete"
    first = api.post(path, json=RESULT, headers=key("too"))
    refused(first, 409, "illegal-transition")
    ok(api.post(f"/executions/{queued_execution}/start"))
    again = api.post(path, json=RESULT, headers=key("too"))
    assert refused(again, 409, "illegal-transition") == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    ok(api.post(path, json=RESULT, headers=key("now")))


def test_key_with_another_body_or_path_is_refused(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/progress"
    ok(api.post(path, json={"progress": 10}, headers=key("mine")))
    another_body = api.post(path, json={"progress": 11}, headers=key("mine"))
    refused(another_body, 422, "idempotency-key-reused")
    another_path = api.post(f"/executions/{running_execution}/pause", json={}, headers=key("mine"))
    refused(another_path, 422, "idempotency-key-reused")
    assert ok(api.get(f"/executions/{running_execution}"))["progress"] == 10


def test_repeated_key_is_accepted_with_and_without_the_prefix_of_the_path(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/progress"
    first = ok(api.post(path, json={"progress": 10}, headers=key("prefix")))
    bare = str(api.base_url.copy_with(path=path))
    assert ok(api.post(bare, json={"progress": 10}, headers=key("prefix"))) == first


def test_simultaneous_repeats_take_effect_once(api: httpx.Client, creation: dict[str, str]) -> None:
    def create(_: int) -> httpx.Response:
        return api.post("/executions", json=creation, headers=key("at-once"))

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(create, range(24)))
    assert len({ok(response)["$id"] for response in responses}) == 1
    replayed = [response for response in responses if "idempotency-replayed" in response.headers]
    assert len(replayed) == 23


def test_invalid_key_is_refused(api: httpx.Client, creation: dict[str, str]) -> None:
    for name in ("", "two words", "x" * 129):
        refused(api.post("/executions", json=creation, headers=key(name)), 422, "invalid")


def test_key_of_a_malformed_body_may_be_used_again(
    api: httpx.Client, creation: dict[str, str]
) -> None:
    wrong = creation | {"priority": "sometime"}
    refused(api.post("/executions", json=wrong, headers=key("typo")), 422, "invalid")
    ok(api.post("/executions", json=creation, headers=key("typo")))


def test_repeated_key_of_a_catalog_command_gets_the_first_answer(api: httpx.Client) -> None:
    body = {"name": "Ann", "kind": "person"}
    first = api.post("/users", json=body, headers=key("ann"))
    again = api.post("/users", json=body, headers=key("ann"))
    assert ok(first) == ok(again)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]


LINES = [{"level": "info", "message": "one"}, {"level": "warn", "message": "two"}]


def messages(api: httpx.Client, execution: str) -> list[str]:
    return [line["message"] for line in ok(api.get(f"/executions/{execution}/logs"))["data"]]


def test_log_lines_are_appended_once(api: httpx.Client, running_execution: str) -> None:
    path = f"/executions/{running_execution}/logs"
    first = api.post(path, json=LINES, headers=key("lines"))
    again = api.post(path, json=LINES, headers=key("lines"))
    assert (first.status_code, again.status_code) == (200, 200)
    assert ok(first) == ok(again) == {"appended": 2}
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert messages(api, running_execution) == ["one", "two"]
    ok(api.post(path, json=LINES, headers=key("more-lines")))
    ok(api.post(path, json=LINES))
    assert messages(api, running_execution) == ["one", "two"] * 3


def test_key_of_log_lines_with_other_lines_or_commands_is_refused(
    api: httpx.Client, running_execution: str, queued_execution: str
) -> None:
    path, progress = f"/executions/{running_execution}/logs", {"progress": 10}
    ok(api.post(path, json=LINES, headers=key("my-lines")))
    others = (
        api.post(path, json=LINES[:1], headers=key("my-lines")),
        api.post(f"/executions/{queued_execution}/logs", json=LINES, headers=key("my-lines")),
        api.post(
            f"/executions/{running_execution}/progress", json=progress, headers=key("my-lines")
        ),
    )
    for other in others:
        refused(other, 422, "idempotency-key-reused")
    ok(
        api.post(
            f"/executions/{running_execution}/progress", json=progress, headers=key("my-progress")
        )
    )
    refused(api.post(path, json=LINES, headers=key("my-progress")), 422, "idempotency-key-reused")
    assert messages(api, running_execution) == ["one", "two"]
    assert messages(api, queued_execution) == []


def test_refusal_of_log_lines_is_repeated(
    api: httpx.Client, creation: dict[str, str], running_execution: str
) -> None:
    first = api.post("/executions/not-yet/logs", json=LINES, headers=key("early"))
    problem = refused(first, 404, "not-found")
    ok(api.post("/executions", json=creation | {"$id": "not-yet"}))
    again = api.post("/executions/not-yet/logs", json=LINES, headers=key("early"))
    assert refused(again, 404, "not-found") == problem
    assert again.headers["idempotency-replayed"] == "true"
    path = f"/executions/{running_execution}/logs"
    refused(api.post(path, json=[{"level": "loud"}], headers=key("typo-line")), 422, "invalid")
    ok(api.post(path, json=LINES, headers=key("typo-line")))
    refused(api.post(path, json=LINES, headers=key("two words")), 422, "invalid")


def test_log_lines_repeated_at_the_same_time_are_appended_once(
    api: httpx.Client, running_execution: str
) -> None:
    def append(number: int) -> httpx.Response:
        headers = key(f"lines-at-once-{number % 3}")
        return api.post(f"/executions/{running_execution}/logs", json=LINES, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(append, range(24)))
    assert {response.status_code for response in responses} == {200}
    replayed = [response for response in responses if "idempotency-replayed" in response.headers]
    assert len(replayed) == 21
    assert sorted(messages(api, running_execution)) == ["one"] * 3 + ["two"] * 3


def test_log_lines_whose_answer_was_lost_may_be_sent_again(
    server: Serving, api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/logs"
    headers = {**AUTHORIZED, **key("lost")}
    request = api.build_request("POST", path, json=LINES, headers=headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"POST /api{path} HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        deadline = time.monotonic() + 10
        while not messages(api, running_execution):
            assert time.monotonic() < deadline
    again = api.post(path, json=LINES, headers=headers)
    assert ok(again) == {"appended": 2}
    assert again.headers["idempotency-replayed"] == "true"
    assert messages(api, running_execution) == ["one", "two"]


def test_idempotency_key_never_collides_with_parts_of_a_batch(
    api: httpx.Client, running_execution: str
) -> None:
    tell = {"command": "recordUsage", "execution": running_execution, "apiCalls": 1}
    ok(api.post("/commands", json=[tell, tell], headers=key("parts")))
    path = f"/executions/{running_execution}/metrics"
    for name in ("parts#0", "parts#1", "parts0", "parts1"):
        response = api.post(path, json={"apiCalls": 1}, headers=key(name))
        assert "idempotency-replayed" not in response.headers
        ok(response)
    shown = ok(api.get(f"/executions/{running_execution}"))
    assert shown["metrics"]["apiCalls"] == 6
    refused(api.post(path, json={"apiCalls": 1}, headers=key("parts 0")), 422, "invalid")
