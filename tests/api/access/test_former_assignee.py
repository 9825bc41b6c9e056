"""Whose an execution was says nothing: whose it is today decides, whatever of its past is asked for. An answer alone is
given again to whom it was given.
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
    """The time at which an execution was the assignee's: it claimed it and said how far it was. Now it is another's."""
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
def test_single_read_is_refused(assignee: httpx.Client, then: JSON, below: str) -> None:
    refused(assignee.get(f"/executions/{ID}{below}"), 404, "not-found")


def test_lists_of_then_are_of_what_is_reached_today(
    administrator: httpx.Client, assignee: httpx.Client, then: JSON
) -> None:
    for client, total in ((administrator, "1"), (assignee, "0")):
        for answer in (
            client.get("/executions", params={**then, "$id": ID}),
            client.post("/executions/find", params=then, json={"$id": ID}),
        ):
            assert len(ok(answer)["data"]) == int(total)
            assert ok(answer)["total"] == int(total)


def test_answer_under_a_key_is_repeated_to_whom_it_was_given(
    assignee: httpx.Client, then: JSON
) -> None:
    """Who lost the answer learns what became of the command, and no more than that."""
    for path, once in ((f"/executions/{ID}/progress", PROGRESS), ("/executions/claim", CLAIM)):
        again = assignee.post(path, **once)
        assert again.headers["idempotency-replayed"] == "true"
        assert ok(again)["assignee"]["id"] == OF_ASSIGNEE.person
    refused(assignee.post(f"/executions/{ID}/progress", json=PROGRESS["json"]), 404, "not-found")


def test_list_of_then_shows_what_became_the_callers_later(
    administrator: httpx.Client, assignee: httpx.Client, then: JSON
) -> None:
    """As a single read of an old version does."""
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
def test_worker_whose_claim_ended_with_its_command_gets_the_answer_again(
    administrator: httpx.Client, assignee: httpx.Client, command: str, body: JSON
) -> None:
    """Also where that led to several events, as a failure that is tried again."""
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
