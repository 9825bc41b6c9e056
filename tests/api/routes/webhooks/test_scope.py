"""A webhook of the log belongs to its maker and gets events in its scope; one of an execution belongs to the parties."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.access.rights import Role
from tests.support.api_client import JSON, ok, refused
from tests.support.owned_world import (
    OF_CUSTOMER,
    OF_PROVIDER,
    STRANGE,
    client_of,
)
from tests.support.running_server import Serving

BODY = {"url": "http://127.0.0.1:9/hook", "events": ["*"], "from": "start"}
CALLS: list[tuple[str, str, JSON | None]] = [
    ("GET", "", None),
    ("PATCH", "", {"events": ["completed"]}),
    ("PATCH", "", {"$type": "Webhook", "events": ["completed"]}),
    ("DELETE", "", None),
    ("POST", "/rotate", {}),
    ("POST", "/disable", {}),
    ("POST", "/enable", {}),
    ("POST", "/test", None),
    ("GET", "/deliveries", None),
    ("POST", "/deliveries/1/redeliver", None),
    ("POST", "/redeliver", {"since": "2026-11-22T00:00:00Z"}),
    ("POST", "/rewind", {"from": "start"}),
]


@pytest.fixture
def clients(owned: Serving) -> Iterator[dict[Role, httpx.Client]]:
    made = {role: client_of(owned, role) for role in (Role.ADMIN, Role.CUSTOMER, Role.PROVIDER)}
    yield made
    for client in made.values():
        client.close()


@pytest.fixture
def webhook(clients: dict[Role, httpx.Client]) -> str:
    return str(ok(clients[Role.CUSTOMER].post("/webhooks", json=BODY))["$id"])


def call_webhook(api: httpx.Client, webhook: str, call: tuple[str, str, Any]) -> httpx.Response:
    method, below, body = call
    return api.request(method, f"/webhooks/{webhook}{below}", json=body)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_webhook_is_visible_only_to_its_maker(
    clients: dict[Role, httpx.Client], webhook: str, call: Any
) -> None:
    stranger, maker = clients[Role.PROVIDER], clients[Role.CUSTOMER]
    answers = []
    for identity in (webhook, "wh_none"):
        problem = refused(call_webhook(stranger, identity, call), 404, "not-found")
        answers.append({name: value for name, value in problem.items() if name != "instance"})
    assert answers[0] == answers[1]
    answer = call_webhook(maker, webhook, call)
    assert answer.is_success or "/deliveries/1/" in call[1], answer.text


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_webhook_of_an_execution_is_visible_only_to_callers_that_reach_the_execution(
    clients: dict[Role, httpx.Client], call: Any
) -> None:
    if call[0] in ("PATCH", "DELETE"):
        return
    hooks = {}
    for sample in (OF_CUSTOMER, OF_PROVIDER):
        found = clients[Role.ADMIN].get(f"/executions/{sample.execution}/webhooks").json()
        hooks[sample] = found[0]["id"]
    refused(call_webhook(clients[Role.CUSTOMER], hooks[OF_PROVIDER], call), 404, "not-found")
    answer = call_webhook(clients[Role.CUSTOMER], hooks[OF_CUSTOMER], call)
    assert answer.status_code != 404 or "/deliveries/1/" in call[1]
    if call[1] == "/disable":
        ok(call_webhook(clients[Role.ADMIN], hooks[OF_CUSTOMER], ("POST", "/enable", {})))


def test_maker_lists_its_own_and_the_administrator_all(
    clients: dict[Role, httpx.Client], webhook: str
) -> None:
    others = str(ok(clients[Role.PROVIDER].post("/webhooks", json=BODY))["$id"])
    ids = {}
    for role, api in clients.items():
        until_known(clients[Role.ADMIN], webhook, others)
        ids[role] = {each["$id"]: each for each in ok(api.get("/webhooks?limit=500"))["data"]}
    assert webhook in ids[Role.CUSTOMER]
    assert others not in ids[Role.CUSTOMER]
    assert {webhook, others} <= ids[Role.ADMIN].keys()
    assert {each["createdBy"] for each in ids[Role.CUSTOMER].values()} == {"customer:amber"}
    scope = {"$and": [{"customer": {"$in": [OF_CUSTOMER.customer]}}]}
    assert ids[Role.ADMIN][webhook]["scope"] == scope


def until_known(api: httpx.Client, *webhooks: str) -> None:
    end = time.monotonic() + 30
    while not set(webhooks) <= {e["$id"] for e in ok(api.get("/webhooks?limit=500"))["data"]}:
        assert time.monotonic() < end
        time.sleep(0.05)


def sources(api: httpx.Client, webhook: str) -> set[str]:
    found = ok(api.get(f"/webhooks/{webhook}/deliveries?limit=500"))["data"]
    return {each["source"] for each in found}


def test_webhook_gets_only_events_that_its_maker_may_see(
    clients: dict[Role, httpx.Client], webhook: str
) -> None:
    own = {f"/api/orders/{OF_CUSTOMER.order}", f"/api/executions/{OF_CUSTOMER.execution}"}
    whole = str(ok(clients[Role.ADMIN].post("/webhooks", json=BODY))["$id"])
    end = time.monotonic() + 30
    while not own <= sources(clients[Role.ADMIN], whole) or not sources(
        clients[Role.CUSTOMER], webhook
    ):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert sources(clients[Role.CUSTOMER], webhook) == own
    assert f"/api/executions/{STRANGE.execution}" in sources(clients[Role.ADMIN], whole)
    ok(clients[Role.CUSTOMER].post(f"/webhooks/{webhook}/rewind", json={"from": 1}))
    while sources(clients[Role.CUSTOMER], webhook) != own:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_scope_of_a_webhook_cannot_be_set_or_changed(
    clients: dict[Role, httpx.Client], webhook: str
) -> None:
    maker = clients[Role.CUSTOMER]
    refused(maker.post("/webhooks", json={**BODY, "scope": {}}), 422, "invalid")
    refused(maker.patch(f"/webhooks/{webhook}", json={"scope": {}}), 422, "read-only")
    shown = ok(clients[Role.ADMIN].patch(f"/webhooks/{webhook}", json={"events": ["failed"]}))
    assert (shown["createdBy"], "scope" in shown) == ("customer:amber", True)
