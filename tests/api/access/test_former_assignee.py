"""The current assignee of an execution decides who may read it, also at past versions and times. Only the answer to a
repeated idempotent request is still given to the former assignee.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api.access.rights import Role
from domain.json_forms import format_time
from tests.support.api_client import JSON, ok, refused
from tests.support.owned_world import OF_ASSIGNEE, STRANGE, client_of
from tests.support.running_server import Serving

ID = "moved"
PROGRESS: dict[str, Any] = {
    "json": {"progress": 40},
    "headers": {"Idempotency-Key": "former-progress"},
}
CLAIM: dict[str, Any] = {"json": {"worker": "w"}, "headers": {"Idempotency-Key": "former-claim"}}


@pytest.fixture(scope="module")
def administrator(owned: Serving) -> Iterator[httpx.Client]:
    with client_of(owned, Role.ADMIN) as client:
        yield client


@pytest.fixture(scope="module")
def assignee(owned: Serving) -> Iterator[httpx.Client]:
    with client_of(owned, Role.ASSIGNEE) as client:
        yield client


@pytest.fixture(scope="module")
def then(administrator: httpx.Client, assignee: httpx.Client) -> JSON:
    """A time at which the assignee had claimed the execution and reported progress. Now it is assigned to another."""
    person = {"type": "human", "id": OF_ASSIGNEE.person, "name": "Somebody"}
    body = {"$id": ID, "order": STRANGE.order, "service": STRANGE.service, "assignee": person}
    ok(administrator.post("/executions", json=body))
    assert ok(assignee.post("/executions/claim", **CLAIM))["$id"] == ID
    ok(assignee.post(f"/executions/{ID}/progress", **PROGRESS))
    again = [assignee.post("/executions/claim", **CLAIM)]
    again += [assignee.post(f"/executions/{ID}/progress", **PROGRESS)]
    assert [answer.headers["idempotency-replayed"] for answer in again] == ["true", "true"]
    time.sleep(0.005)
    at = format_time(datetime.now(UTC))
    time.sleep(0.005)
    moved = ok(
        administrator.patch(f"/executions/{ID}", json={"assignee": {**person, "id": "another"}})
    )
    return {"at": at, "minPosition": str(moved["position"]), "count": "true"}


SINGLE = ("", "?version=2", "/status", "/history", "/events", "/verify", "/diff?from=1&to=2")


@pytest.mark.parametrize("below", SINGLE)
def test_single_read_by_the_former_assignee_is_not_found(
    assignee: httpx.Client, then: JSON, below: str
) -> None:
    refused(assignee.get(f"/executions/{ID}{below}"), 404, "not-found")


def test_lists_at_a_past_time_have_only_executions_that_are_reached_today(
    administrator: httpx.Client, assignee: httpx.Client, then: JSON
) -> None:
    for client, total in ((administrator, "1"), (assignee, "0")):
        for answer in (
            client.get("/executions", params={**then, "$id": ID}),
            client.post("/executions/find", params=then, json={"$id": ID}),
        ):
            assert len(ok(answer)["data"]) == int(total)
            assert ok(answer)["total"] == int(total)


def test_answer_of_an_idempotency_key_is_repeated_to_the_former_assignee(
    assignee: httpx.Client, then: JSON
) -> None:
    """The sender that lost the answer gets the result of its command, and no later state."""
    for path, once in ((f"/executions/{ID}/progress", PROGRESS), ("/executions/claim", CLAIM)):
        again = assignee.post(path, **once)
        assert again.headers["idempotency-replayed"] == "true"
        assert ok(again)["assignee"]["id"] == OF_ASSIGNEE.person
    refused(assignee.post(f"/executions/{ID}/progress", json=PROGRESS["json"]), 404, "not-found")


def test_list_at_a_past_time_shows_executions_assigned_to_the_caller_later(
    administrator: httpx.Client, assignee: httpx.Client, then: JSON
) -> None:
    """A single read of an old version shows them, too."""
    person = {"type": "human", "id": OF_ASSIGNEE.person, "name": "Somebody"}
    path = f"/executions/{STRANGE.execution}"
    moved = ok(administrator.patch(path, json={"assignee": person}))
    ask = {**then, "minPosition": str(moved["position"]), "$id": STRANGE.execution}
    [shown] = ok(assignee.get("/executions", params=ask))["data"]
    assert shown["assignee"]["id"] == STRANGE.person
    assert ok(assignee.get(path, params={"version": "1"}))["assignee"]["id"] == STRANGE.person


DONE = {"success": True, "summary": "done"}
FAILED = {"code": "E", "message": "again", "recoverable": True}
RETRY = {"maxRetries": 3, "backoff": "linear", "initialDelay": 60_000, "maxDelay": 60_000}


@pytest.mark.parametrize(("command", "body"), [("complete", DONE), ("fail", FAILED)])
def test_worker_whose_command_ended_its_claim_gets_the_answer_again(
    administrator: httpx.Client, assignee: httpx.Client, command: str, body: JSON
) -> None:
    """Also if the command led to several events, such as a failure that is retried."""
    execution = f"claimed-{command}"
    new = {"$id": execution, "order": STRANGE.order, "service": STRANGE.service}
    ok(administrator.post("/executions", json={**new, "priority": "urgent", "retryPolicy": RETRY}))
    claim = {"worker": OF_ASSIGNEE.person}
    assert ok(administrator.post("/executions/claim", json=claim))["$id"] == execution
    path, once = f"/executions/{execution}/{command}", {"Idempotency-Key": execution}
    first = ok(assignee.post(path, json=body, headers=once))
    refused(assignee.get(f"/executions/{execution}"), 404, "not-found")
    again = assignee.post(path, json=body, headers=once)
    assert again.headers["idempotency-replayed"] == "true"
    assert ok(again)["version"] == first["version"]
