"""API keys over HTTP: shown once, limited to their rights, and revoked at once in every process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.api_client import JSON, RESULT, Catalog, Executions, ok, recorded_event, refused
from tests.support.running_server import Serving, serving


def make_key(api: httpx.Client, **body: Any) -> JSON:
    return ok(api.post("/keys", json=body))


def client(server: Serving, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"{server.url}/api", headers=headers, timeout=30)


@pytest.fixture(scope="module")
def other(server: Serving) -> Iterator[Serving]:
    """The caches of another process of the same log."""
    with serving(server.conninfo) as running:
        yield running


def test_key_is_shown_once_and_only_its_hmac_is_stored(api: httpx.Client, catalog: Catalog) -> None:
    answer = api.post("/keys", json={"role": "provider", "party": catalog.provider, "name": "ci"})
    key = ok(answer)
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/keys/{key['$id']}")
    assert key["key"].startswith("exk_")
    shown = ok(api.get(f"/keys/{key['$id']}"))
    assert {"key", "digest"}.isdisjoint(shown)
    assert (shown["role"], shown["party"], shown["name"]) == ("provider", catalog.provider, "ci")
    listed = api.get("/keys", params={"minPosition": key["position"]})
    assert key["key"] not in listed.text
    assert key["$id"] in [entry["$id"] for entry in ok(listed)["data"]]
    event = recorded_event(api, key["position"])
    assert "key.created" in event
    assert key["key"] not in event


def test_repeated_request_makes_one_key_and_does_not_show_it_again(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "a-key"}
    first, again = (api.post("/keys", json={"role": "operator"}, headers=headers) for _ in "12")
    assert ok(first)["$id"] == ok(again)["$id"]
    assert "key" in first.json()
    assert "key" not in again.json()


def test_key_acts_as_its_party(
    server: Serving, api: httpx.Client, catalog: Catalog, executions: Executions
) -> None:
    key = make_key(api, role="provider", party=catalog.provider)["key"]
    execution = executions.running()
    with client(server, key) as provider:
        ok(provider.post(f"/executions/{execution}/complete", json=RESULT))
        events = ok(provider.get(f"/executions/{execution}/events"))["data"]
        refused(provider.get("/keys"), 403, "forbidden")
        refused(provider.post("/users", json={"name": "X", "kind": "person"}), 403, "forbidden")
    assert events[-1]["actor"] == f"provider:{catalog.provider}"


def test_key_of_another_provider_sees_no_execution(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    ok(api.post("/users", json={"$id": "rival", "name": "Rival", "kind": "organization"}))
    key = make_key(api, role="provider", party="rival")["key"]
    execution = executions.running()
    with client(server, key) as rival:
        refused(rival.get(f"/executions/{execution}"), 404, "not-found")
        refused(rival.post(f"/executions/{execution}/cancel"), 404, "not-found")


def test_key_is_refused_operations_that_need_other_rights(
    server: Serving, api: httpx.Client, catalog: Catalog, executions: Executions
) -> None:
    key = make_key(api, role="provider", party=catalog.provider, rights=["executions.read"])["key"]
    execution = executions.running()
    with client(server, key) as reader:
        ok(reader.get(f"/executions/{execution}"))
        refused(reader.post(f"/executions/{execution}/complete", json=RESULT), 403, "forbidden")


def test_key_makes_no_key_with_more_rights_than_its_own(server: Serving, api: httpx.Client) -> None:
    own = ["keys.manage", "operate"]
    maker = make_key(api, role="admin", name="maker", rights=own)
    with client(server, maker["key"]) as narrow:
        wider: list[JSON] = [
            {"role": "admin"},
            {"role": "admin", "rights": [*own, "erase"]},
            {"role": "operator"},
            {"role": "auditor", "party": "ann"},
        ]
        for body in wider:
            refused(narrow.post("/keys", json=body), 403, "forbidden")
        make_key(narrow, role="admin", rights=own)
        make_key(narrow, role="operator", rights=["operate"])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"role": "nobody"}, "role"),
        ({"role": "customer"}, "party"),
        ({"role": "operator", "party": "acme"}, "party"),
        ({"role": "operator", "rights": ["keys.manage"]}, "rights"),
        ({"role": "operator", "rights": ["nonsense"]}, "rights.0"),
        ({"role": "operator", "rights": []}, "rights"),
        ({"role": "auditor", "party": "ann", "rights": ["executions.read"]}, "rights"),
        ({"role": "operator", "name": "a/b"}, "name"),
        ({"role": "operator", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"role": "operator", "digest": "0" * 64}, "digest"),
    ],
)
def test_invalid_key_is_refused_with_the_name_of_the_field(
    api: httpx.Client, body: JSON, path: str
) -> None:
    problem = refused(api.post("/keys", json=body), 422, "invalid")
    assert path in [error["path"] for error in problem["errors"]]


def test_key_of_an_unknown_user_is_refused(api: httpx.Client) -> None:
    body = {"role": "customer", "party": "no-such"}
    refused(api.post("/keys", json=body), 422, "unknown-reference")


def test_revoked_key_is_refused_at_once_by_the_process_that_revoked_it(
    server: Serving, api: httpx.Client
) -> None:
    key = make_key(api, role="operator")
    with client(server, key["key"]) as operator:
        assert operator.get("/projections").status_code == 200
        revoked = ok(api.delete(f"/keys/{key['$id']}"))
        assert revoked["status"] == "revoked"
        assert revoked["revocation"]["by"] == "admin"
        until_refused(operator)


def test_revoked_key_is_refused_by_every_process(
    server: Serving, other: Serving, api: httpx.Client
) -> None:
    key = make_key(api, role="operator")
    with client(other, key["key"]) as operator:
        assert operator.get("/projections").status_code == 200
        ok(api.delete(f"/keys/{key['$id']}"))
        until_refused(operator)


def until_refused(operator: httpx.Client) -> None:
    deadline = time.monotonic() + 10
    while operator.get("/projections").status_code != 401:
        assert time.monotonic() < deadline, "the key still opens something"
        time.sleep(0.02)
    refused(operator.get("/projections"), 401, "unauthenticated")


def test_key_that_is_revoked_twice_is_unchanged(api: httpx.Client) -> None:
    key = make_key(api, role="operator")
    first, again = (ok(api.delete(f"/keys/{key['$id']}")) for _ in "12")
    assert first == again
    refused(api.delete("/keys/no-such"), 404, "not-found")


def test_keys_are_listed_by_role_party_and_status(api: httpx.Client, catalog: Catalog) -> None:
    mine = make_key(api, role="customer", party=catalog.customer)
    gone = make_key(api, role="customer", party=catalog.customer)
    last = ok(api.delete(f"/keys/{gone['$id']}"))["position"]
    for status, key in (("active", mine), ("revoked", gone)):
        wanted = {"role": "customer", "party": catalog.customer, "status": status}
        found = ok(api.get("/keys", params={**wanted, "minPosition": last}))["data"]
        assert [entry["$id"] for entry in found] == [key["$id"]]
    refused(api.get("/keys?role=nobody"), 422, "invalid")


def test_last_use_of_a_key_is_shown(server: Serving, api: httpx.Client) -> None:
    key = make_key(api, role="operator")
    assert "lastUsedAt" not in ok(api.get(f"/keys/{key['$id']}"))
    with client(server, key["key"]) as operator:
        operator.get("/projections")
    deadline = time.monotonic() + 30
    while "lastUsedAt" not in ok(api.get(f"/keys/{key['$id']}")):
        assert time.monotonic() < deadline, "no use was noted"
        time.sleep(0.2)
