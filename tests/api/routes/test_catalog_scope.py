"""Which entries of the catalog are visible to which callers."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from api.access.rights import Role
from tests.support.api_client import JSON, ok, refused
from tests.support.owned_world import (
    OF_CUSTOMER,
    OF_PROVIDER,
    REACHED,
    SAMPLES,
    STRANGE,
    client_of,
)
from tests.support.running_server import Serving

READERS = (Role.CUSTOMER, Role.PROVIDER, Role.ASSIGNEE, Role.AUDITOR)
PARTIES = (Role.CUSTOMER, Role.PROVIDER)
Clients = dict[Role, httpx.Client]


@pytest.fixture(scope="module")
def clients(owned: Serving) -> Iterator[Clients]:
    made = {role: client_of(owned, role) for role in Role}
    yield made
    for client in made.values():
        client.close()


def list_ids(api: httpx.Client, path: str, **query: str) -> set[str]:
    return {entry["$id"] for entry in ok(api.get(f"/{path}", params=query))["data"]}


@pytest.fixture
def fresh(clients: Clients) -> dict[str, str]:
    return {"minPosition": str(ok(clients[Role.ADMIN].get("/readyz"))["position"])}


def test_orders_are_listed_only_for_their_parties(clients: Clients, fresh: dict[str, str]) -> None:
    for role in READERS:
        own = {sample.order for sample in REACHED[role]} if role in PARTIES else set()
        assert list_ids(clients[role], "orders", **fresh) == own
        assert list_ids(clients[role], "orders", customer=STRANGE.customer, **fresh) == set()
    assert list_ids(clients[Role.ADMIN], "orders") == {sample.order for sample in SAMPLES}


def test_user_sees_only_itself(clients: Clients, fresh: dict[str, str]) -> None:
    itself = {
        Role.CUSTOMER: {OF_CUSTOMER.customer},
        Role.PROVIDER: {OF_PROVIDER.provider},
        Role.ASSIGNEE: set[str](),  # the caller is no entry of the catalog
        Role.AUDITOR: set[str](),
    }
    for role, own in itself.items():
        assert list_ids(clients[role], "users", **fresh) == own
        assert {id_ for id_ in own if ok(clients[role].get(f"/users/{id_}"))} == own
        details = {
            refused(clients[role].get(f"/users/{id_}"), 404, "not-found")["detail"]
            for id_ in (STRANGE.customer, "nobody")
        }
        assert len(details) == 1


@pytest.mark.parametrize("role", READERS)
def test_order_and_parties_of_an_execution_are_expanded_only_for_its_parties(
    clients: Clients, role: Role
) -> None:
    """An assignee gets only the ids, and so does an auditor with a grant of the execution only."""
    [sample] = REACHED[role]
    path, relations = f"/executions/{sample.execution}", "order,customer,provider,service"
    read, headers = clients[role].get, {"X-Purpose": "Invoice 7"}
    listed = ok(read("/executions", params={"expand": relations}, headers=headers))["data"]
    for shown in (ok(read(path, params={"expand": relations}, headers=headers)), *listed):
        whole = {name for name in relations.split(",") if isinstance(shown[name], dict)}
        assert whole == ({*relations.split(",")} if role in PARTIES else {"service"})
    for name in ("order", "customer", "provider"):
        answer = read(f"{path}/{name}", headers=headers)
        assert answer.status_code == (200 if role in PARTIES else 404), name


def test_services_and_workflows_are_visible_to_all_who_may_read_the_catalog(
    clients: Clients,
) -> None:
    for role in READERS:
        assert list_ids(clients[role], "services") == {sample.service for sample in SAMPLES}
        assert ok(clients[role].get(f"/services/{STRANGE.service}"))
        assert list_ids(clients[role], "workflows") == set()
    refused(clients[Role.OPERATOR].get("/services"), 403, "forbidden")


def test_holds_are_visible_only_to_the_administrator(clients: Clients) -> None:
    hold = ok(
        clients[Role.ADMIN].post(
            "/holds", json={"customer": OF_CUSTOMER.customer, "reason": "A lawsuit"}
        )
    )
    for role in (*READERS, Role.OPERATOR):
        for path in ("/holds", f"/holds/{hold['$id']}"):
            refused(clients[role].get(path), 403, "forbidden")
    ok(clients[Role.ADMIN].get(f"/holds/{hold['$id']}"))


def order(role: Role, **members: str) -> JSON:
    [own] = REACHED[role]
    return {"service": own.service, "customer": own.customer, **members}


@pytest.mark.parametrize("role", PARTIES)
def test_party_may_create_only_its_own_orders(clients: Clients, role: Role) -> None:
    made = ok(clients[role].post("/orders", json=order(role)))
    ok(clients[role].post(f"/orders/{made['$id']}/cancel", json={}))
    strange = {"service": STRANGE.service, "customer": STRANGE.customer}
    refused(clients[role].post("/orders", json=strange), 403, "forbidden")
    for below in ("cancel", "confirm"):
        path = f"/orders/{STRANGE.order}/{below}"
        status = 403 if (role, below) == (Role.CUSTOMER, "confirm") else 404
        answers = {
            clients[role].post(p, json={}).json()["detail"] for p in (path, f"/orders/none/{below}")
        }
        assert clients[role].post(path, json={}).status_code == status
        assert len(answers) == 1


def test_order_cannot_be_confirmed_with_the_id_of_an_execution_outside_the_scope(
    clients: Clients,
) -> None:
    provider, admin = clients[Role.PROVIDER], clients[Role.ADMIN]
    made = ok(provider.post("/orders", json=order(Role.PROVIDER)))
    before = ok(admin.get(f"/executions/{STRANGE.execution}"))
    for query in ("", "?dryRun=true"):
        path, body = f"/orders/{made['$id']}/confirm{query}", {"execution": STRANGE.execution}
        problem = refused(provider.post(path, json=body), 409, "already-exists")
        assert STRANGE.word not in problem["detail"]
    after = ok(admin.get(f"/executions/{STRANGE.execution}"))
    assert (after["version"], after["customer"]) == (before["version"], before["customer"])
    assert ok(provider.get(f"/orders/{made['$id']}"))["status"] == "pending"
