"""A fork creates a new execution from an earlier version of another one."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.api_client import JSON, RESULT, Executions, ok, refused

BELOW = {"name": "Search", "parent": "agent", "kind": "tool", "input": {"q": 1}}


@pytest.fixture(scope="module")
def source(executions: Executions) -> str:
    """Created (version 1), started, `agent` completed, `tool` started (6), completed, ended (8)."""
    identity = str(executions.create(tags=["eu"], metadata={"region": "north"})["$id"])
    executions.tell(identity, "start")
    executions.tell(identity, "steps/agent/start", name="Agent", kind="agent")
    executions.tell(identity, "steps/agent/complete", output={"leads": [1, 2]})
    executions.tell(identity, "steps/tool/start", **BELOW)
    executions.tell(identity, "steps/tool/complete", output="found")
    executions.tell(identity, "complete", **RESULT)
    return identity


def require_created(response: httpx.Response) -> JSON:
    assert response.status_code == 201
    return ok(response)


def fork(api: httpx.Client, source: str, version: int, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    path = f"/executions/{source}/fork"
    return api.post(path, json={"version": version, **more}, headers=headers)


def test_fork_continues_the_work_and_leaves_its_source_unchanged(
    api: httpx.Client, source: str, executions: Executions
) -> None:
    response = fork(api, source, 6)
    forked: JSON = require_created(response)
    identity = forked["$id"]
    assert response.headers["location"] == f"/api/executions/{identity}"
    assert (forked["status"], forked["version"]) == ("queued", 1)
    assert forked["forkedFrom"] == {"execution": source, "version": 6}
    assert forked["tags"] == ["eu"]
    steps = {step["id"]: step for step in forked["steps"]}
    assert (steps["agent"]["status"], steps["agent"]["output"]) == ("completed", {"leads": [1, 2]})
    assert (steps["tool"]["status"], steps["tool"]["parent"]) == ("pending", "agent")
    executions.tell(identity, "start")
    executions.tell(identity, "steps/tool/start")
    executions.tell(identity, "steps/tool/complete", output="found another")
    past = ok(api.get(f"/executions/{source}?version=8"))
    assert {step["id"]: step.get("output") for step in past["steps"]}["tool"] == "found"


def test_fork_is_read_equal_to_the_answer_of_its_creation(api: httpx.Client, source: str) -> None:
    forked = require_created(fork(api, source, 8))
    read = ok(api.get(f"/executions/{forked['$id']}?version=1"))
    assert read == forked
    [event] = ok(api.get(f"/executions/{forked['$id']}/events"))["data"]
    assert event["type"] == "execution.created"
    assert event["data"]["carried"][0]["output"] == {"leads": [1, 2]}


def test_forks_are_found_by_their_origin(api: httpx.Client, source: str) -> None:
    forked = require_created(fork(api, source, 5))
    query = {
        "forkedFrom.execution": source,
        "forkedFrom.version": 5,
        "minPosition": forked["position"],
    }
    found = ok(api.get("/executions", params=query))["data"]
    assert [item["$id"] for item in found] == [forked["$id"]]


def test_fork_has_the_id_given_by_the_client_if_it_is_new(api: httpx.Client, source: str) -> None:
    assert require_created(fork(api, source, 3, **{"$id": "my-fork"}))["$id"] == "my-fork"
    refused(fork(api, source, 3, **{"$id": "my-fork"}), 409, "already-exists")
    refused(fork(api, source, 3, **{"$id": "find"}), 422, "invalid")


def test_fork_with_an_idempotency_key_is_created_once(api: httpx.Client, source: str) -> None:
    first, again = (
        require_created(fork(api, source, 4, headers={"Idempotency-Key": "fork-once"}))
        for _ in range(2)
    )
    assert first["$id"] == again["$id"]


@pytest.mark.parametrize("version", [99, 2**53 - 1])
def test_fork_of_a_missing_version_is_not_found(
    api: httpx.Client, source: str, version: int
) -> None:
    refused(fork(api, source, version), 404, "not-found")
    refused(fork(api, "nobody", 1), 404, "not-found")


@pytest.mark.parametrize("body", [{}, {"version": 0}, {"version": "3"}, {"version": 1, "x": 1}])
def test_fork_needs_a_valid_version(api: httpx.Client, source: str, body: JSON) -> None:
    refused(api.post(f"/executions/{source}/fork", json=body), 422, "invalid")
