"""Two providers use the same name for a worker and an assignee: a narrowed key reaches executions of one provider only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.api_client import JSON, Catalog, ok, refused
from tests.support.running_server import Serving
from tests.support.sse_client import opened, until_caught_up

WORKER = "worker-1"
OWN, STRANGE = ("claimed-own", "assigned-own"), ("claimed-strange", "assigned-strange")
WAYS: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "read": lambda key, id_: key.get(f"/executions/{id_}"),
    "version": lambda key, id_: key.get(f"/executions/{id_}", params={"version": "1"}),
    "history": lambda key, id_: key.get(f"/executions/{id_}/events"),
    "lines": lambda key, id_: key.get(f"/executions/{id_}/logs"),
    "bundle": lambda key, id_: key.get(f"/audit/bundle/{id_}"),
    "command": lambda key, id_: key.post(f"/executions/{id_}/progress", json={"progress": 40}),
    "dry run": lambda key, id_: key.post(f"/executions/{id_}/complete?dryRun=true", json=DONE),
}
DONE: JSON = {"success": True, "summary": "Done"}


@pytest.fixture(scope="module")
def made(
    server: Serving, api: httpx.Client, catalog: Catalog
) -> Iterator[Callable[..., httpx.Client]]:
    """A function that makes clients with keys of the worker. Each provider has two executions of it, and one queued execution."""
    other = {"provider": "rival", "service": "rival-service", "order": "rival-order"}
    ok(api.post("/users", json={"$id": "rival", "name": "Rival", "kind": "organization"}))
    service = {"$id": other["service"], "name": "Outreach", "provider": other["provider"]}
    ok(api.post("/services", json=service))
    order = {"$id": other["order"], "service": other["service"], "customer": catalog.customer}
    ok(api.post("/orders", json=order))
    assignee = {"type": "ai-agent", "id": WORKER, "name": "Worker"}
    of_provider = {"order": catalog.order, "service": catalog.service}
    of_other = {"order": other["order"], "service": other["service"]}
    for (claimed, assigned), ids in ((OWN, of_provider), (STRANGE, of_other)):
        ok(api.post("/executions", json={"$id": claimed, **ids}))
        body = {"worker": WORKER, "service": ids["service"]}
        assert ok(api.post("/executions/claim", json=body))["$id"] == claimed
        running = {"status": "running", "assignee": assignee}
        ok(api.post("/executions", json={"$id": assigned, **ids, **running}))
    clients: list[httpx.Client] = []

    def client(**narrowed: str) -> httpx.Client:
        key = ok(api.post("/keys", json={"role": "assignee", "party": WORKER, **narrowed}))["key"]
        headers = {"Authorization": f"Bearer {key}"}
        clients.append(httpx.Client(base_url=f"{server.url}/api", headers=headers, timeout=30))
        return clients[-1]

    yield client
    for each in clients:
        each.close()


def list_ids(key: httpx.Client, api: httpx.Client, **asked: str) -> set[str]:
    position = str(ok(api.get("/readyz"))["position"])
    page = ok(key.get("/executions", params={"count": "true", "minPosition": position, **asked}))
    assert page["total"] == len(page["data"])
    return {one["$id"] for one in page["data"]}


def test_key_that_is_not_narrowed_reaches_all_executions_with_its_name(
    made: Callable[..., httpx.Client], api: httpx.Client
) -> None:
    key = made()
    assert list_ids(key, api) == {*OWN, *STRANGE}
    for id_ in (*OWN, *STRANGE):
        ok(key.get(f"/executions/{id_}"))


@pytest.mark.parametrize("by_customer", [False, True])
def test_narrowed_key_reaches_only_executions_with_its_name_and_its_parties(
    made: Callable[..., httpx.Client], api: httpx.Client, catalog: Catalog, by_customer: bool
) -> None:
    customer = {"customer": catalog.customer} if by_customer else {}
    key = made(provider=catalog.provider, **customer)
    for ask in WAYS.values():
        for id_ in OWN:
            assert ask(key, id_).is_success
        for id_ in STRANGE:
            refused(ask(key, id_), 404, "not-found")
    assert list_ids(key, api) == {*OWN}
    assert list_ids(key, api, at="2099-01-01T00:00:00Z") == {*OWN}
    with opened(key, "/events", **{"from": "start"}) as stream:
        subjects = {
            frame.data["subject"] for frame in until_caught_up(stream) if "subject" in frame.data
        }
    assert subjects == {*OWN}
    me = ok(key.get("/me"))
    assert (me["provider"], me.get("customer")) == (catalog.provider, customer.get("customer"))


def test_session_of_a_narrowed_key_is_narrowed_alike(
    made: Callable[..., httpx.Client], api: httpx.Client, catalog: Catalog
) -> None:
    key = made(provider=catalog.provider)
    token = key.headers["authorization"].removeprefix("Bearer ")
    with httpx.Client(base_url=key.base_url, timeout=30) as browser:
        ok(browser.post("/session", json={"token": token}))
        assert list_ids(browser, api) == {*OWN}
        refused(browser.get(f"/executions/{STRANGE[0]}"), 404, "not-found")


def test_key_that_is_narrowed_to_another_customer_reaches_nothing(
    made: Callable[..., httpx.Client], api: httpx.Client, catalog: Catalog
) -> None:
    assert list_ids(made(provider=catalog.provider, customer="rival"), api) == set()


def test_narrowed_key_claims_only_executions_of_its_parties_assigned_to_its_name(
    made: Callable[..., httpx.Client], api: httpx.Client, catalog: Catalog
) -> None:
    key, claim = made(provider=catalog.provider), {"worker": "w"}
    assignee = {"type": "ai-agent", "id": WORKER, "name": "Worker"}
    queued: dict[str, Any] = {"assignee": assignee, "priority": "urgent"}
    of_other = {"order": "rival-order", "service": "rival-service"}
    ok(api.post("/executions", json={"$id": "queued-strange", **of_other, **queued}))
    assert key.post("/executions/claim", json=claim).status_code == 204
    of_provider = {"order": catalog.order, "service": catalog.service}
    ok(api.post("/executions", json={"$id": "queued-own", **of_provider, **queued}))
    assert ok(key.post("/executions/claim", json=claim))["$id"] == "queued-own"
    assert key.post("/executions/claim", json=claim).status_code == 204
