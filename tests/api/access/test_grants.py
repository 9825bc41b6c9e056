"""Grants over HTTP: an auditor reads only granted executions, for a purpose, until the grant ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from api.access.grants import FRESH, condition_of
from api.access.rights import Role
from domain.access.grant import Grant
from projections.query.ast import EVERYTHING
from tests.support.api_client import Catalog, Executions, ok, refused
from tests.support.callers import admit, caller, client
from tests.support.operation_examples import BODIES, path_of
from tests.support.operations import OPERATIONS
from tests.support.running_server import Serving

CUSTOMER, PROVIDER = caller(Role.CUSTOMER, "acme"), caller(Role.PROVIDER, "outreach")
OTHER, ANN, BOB = (
    caller(Role.CUSTOMER, "other"),
    caller(Role.AUDITOR, "ann"),
    caller(Role.AUDITOR, "bob"),
)
NEXT_YEAR = "2099-01-01T00:00:00.000Z"
GRANT = {"auditor": "ann", "purpose": "Audit of the year", "expiresAt": NEXT_YEAR}


@pytest.fixture(scope="module", autouse=True)
def callers(server: Serving) -> None:
    admit(server, CUSTOMER, PROVIDER, OTHER, ANN, BOB)


@pytest.fixture
def customer(server: Serving, catalog: Catalog) -> Iterator[httpx.Client]:
    with client(server, CUSTOMER) as opened:
        yield opened


@pytest.fixture
def auditor(server: Serving) -> Iterator[httpx.Client]:
    with client(server, ANN, **{"X-Purpose": "Invoice 7"}) as opened:
        yield opened


def within_a_second(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reads(client: httpx.Client, execution: Any) -> bool:
    return client.get(f"/executions/{execution}").status_code == 200


def test_auditor_without_a_grant_reads_nothing(
    server: Serving, auditor: httpx.Client, queued_execution: str
) -> None:
    with client(server, BOB, **{"X-Purpose": "Curiosity"}) as bob:
        refused(bob.get(f"/executions/{queued_execution}"), 404, "not-found")
        assert ok(bob.get("/executions"))["data"] == []


@pytest.mark.parametrize(
    "named",
    [
        lambda id_: {"executions": [id_]},
        lambda _: {"order": "order-123"},
        lambda _: {"service": "sdr-service"},
        lambda _: {"filter": {"status": "queued"}},
    ],
    ids=["executions", "order", "service", "filter"],
)
def test_grant_allows_reads_of_its_executions_until_it_is_revoked(
    customer: httpx.Client,
    auditor: httpx.Client,
    queued_execution: str,
    named: Callable[[str], dict[str, Any]],
) -> None:
    made = ok(customer.post("/grants", json=GRANT | named(queued_execution)))
    within_a_second(lambda: reads(auditor, queued_execution))
    shown = ok(auditor.get("/executions", params={"minPosition": made["position"]}))["data"]
    assert queued_execution in {each["$id"] for each in shown}
    revoked = ok(customer.delete(f"/grants/{made['$id']}"))
    assert (revoked["status"], revoked["revocation"]["by"]) == ("revoked", CUSTOMER.name)
    within_a_second(lambda: not reads(auditor, queued_execution))
    assert ok(auditor.get("/executions"))["data"] == []


def test_grant_of_one_execution_allows_no_read_of_another(
    customer: httpx.Client, auditor: httpx.Client, executions: Executions
) -> None:
    one, other = executions.create()["$id"], executions.create()["$id"]
    made = ok(customer.post("/grants", json=GRANT | {"executions": [one]}))
    within_a_second(lambda: reads(auditor, one))
    refused(auditor.get(f"/executions/{other}"), 404, "not-found")
    refused(auditor.get(f"/executions/{one}/compare", params={"with": other}), 404, "not-found")
    refused(auditor.post(f"/executions/{one}/start"), 403, "forbidden")
    ok(customer.delete(f"/grants/{made['$id']}"))


def test_grant_allows_no_more_than_its_maker_reaches(
    server: Serving, auditor: httpx.Client, queued_execution: str
) -> None:
    with client(server, OTHER) as other:
        refused(
            other.post("/grants", json=GRANT | {"executions": [queued_execution]}),
            422,
            "unknown-reference",
        )
        made = ok(other.post("/grants", json=GRANT | {"service": "sdr-service"}))
        assert made["within"] == {"$and": [{"customer": {"$in": ["other"]}}]}
        seen = ok(auditor.get("/grants", params={"minPosition": made["position"]}))
        assert made["$id"] in {each["$id"] for each in seen["data"]}
        time.sleep(2 * FRESH)
        assert not reads(auditor, queued_execution)
        ok(other.delete(f"/grants/{made['$id']}"))


def test_grant_ends_when_it_expires(
    customer: httpx.Client, auditor: httpx.Client, queued_execution: str
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=3)
    asked = GRANT | {"executions": [queued_execution], "expiresAt": soon.isoformat()}
    made = ok(customer.post("/grants", json=asked))
    path = f"/grants/{made['$id']}"
    before = customer.get(path)
    assert (made["status"], ok(before)["status"]) == ("active", "active")
    within_a_second(lambda: reads(auditor, queued_execution))
    within_a_second(lambda: not reads(auditor, queued_execution))
    assert datetime.now(UTC) >= soon
    after = customer.get(path, headers={"If-None-Match": before.headers["etag"]})
    assert ok(after)["status"] == "expired"
    assert made["$id"] not in statuses(customer, "active")
    assert statuses(customer, "expired")[made["$id"]] == "expired"


def statuses(client: httpx.Client, status: str) -> dict[str, str]:
    """The grants found by each status, with the status that they show."""
    found = ok(client.get("/grants", params={"status": status, "limit": 500}))["data"]
    return {each["$id"]: each["status"] for each in found}


@pytest.mark.parametrize("purpose", [None, ""])
def test_read_of_an_auditor_without_a_purpose_is_refused(
    server: Serving, queued_execution: str, purpose: str | None
) -> None:
    headers = {} if purpose is None else {"X-Purpose": purpose}
    with client(server, ANN, **headers) as auditor:
        for path in (f"/executions/{queued_execution}", "/executions", "/events"):
            refusal = auditor.get(path)
            refused(refusal, 403, "purpose-required")
            assert "X-Purpose" in refusal.json()["detail"]


def test_auditor_without_a_purpose_is_refused_by_every_read_of_executions(
    server: Serving, running_execution: str
) -> None:
    asked = 0
    with client(server, ANN) as auditor:
        for operation in OPERATIONS:
            if not operation.shows_executions or not ANN.scope.rights & {operation.right}:
                continue
            path, asked = path_of(operation, running_execution), asked + 1
            body = BODIES.get(operation.name)
            forms = ["application/json", "text/event-stream"]
            methods = ["GET", "HEAD"] if operation.method == "GET" else [operation.method]
            for method, form in product(methods, forms):
                answer = auditor.request(method, path, json=body, headers={"Accept": form})
                assert answer.status_code == 403, f"{method} {path} as {form}"
                assert method == "HEAD" or "purpose-required" in answer.json()["type"], path
    assert asked > 25
    for path in ("/events", "/executions/watch", f"/executions/{running_execution}/events"):
        headers = {"Authorization": f"Bearer {ANN.name}"}
        url = server.url.replace("http", "ws") + f"/api{path}"
        with pytest.raises(InvalidStatus) as closed, connect(url, additional_headers=headers):
            pass
        assert closed.value.response.status_code == 403


@pytest.mark.parametrize("purpose", ["x" * 201, "a\tb", "x\u0085y"])
def test_purpose_that_is_not_one_line_of_text_is_refused(server: Serving, purpose: str) -> None:
    with client(server, ANN) as auditor:
        answer = auditor.get("/executions", headers={b"X-Purpose": purpose.encode()})
        refused(answer, 422, "invalid")
        assert answer.json()["errors"][0]["path"] == "X-Purpose"


def test_grants_are_shown_only_to_their_maker_and_their_auditor(
    server: Serving, api: httpx.Client, customer: httpx.Client, auditor: httpx.Client
) -> None:
    made = ok(customer.post("/grants", json=GRANT | {"filter": {}}))
    path, fresh = f"/grants/{made['$id']}", {"minPosition": made["position"]}
    with client(server, OTHER) as other, client(server, BOB) as bob:
        for reader, sees in (
            (api, True),
            (customer, True),
            (auditor, True),
            (other, False),
            (bob, False),
        ):
            listed = {each["$id"] for each in ok(reader.get("/grants", params=fresh))["data"]}
            assert (made["$id"] in listed) is sees
            assert (reader.get(path).status_code == 200) is sees
        refused(other.delete(path), 404, "not-found")
    refused(auditor.delete(path), 403, "forbidden")
    assert ok(api.delete(path))["status"] == "revoked"


@pytest.mark.parametrize(
    "body",
    [
        {"service": "sdr-service", "within": {}},
        {"service": "sdr-service", "customer": "other"},
        {"filter": {"no-such": 1}},
        {"filter": {"status": {"$in": "running"}}},
        {"service": "sdr-service", "purpose": ""},
        {"service": "sdr-service", "expiresAt": "2020-01-01T00:00:00Z"},
    ],
)
def test_invalid_grant_is_refused(customer: httpx.Client, body: dict[str, Any]) -> None:
    refused(customer.post("/grants", json=GRANT | body), 422, "invalid")


def test_grant_of_all_executions_of_a_party_shows_no_orders(
    customer: httpx.Client, auditor: httpx.Client, queued_execution: str
) -> None:
    made = ok(customer.post("/grants", json={**GRANT, "filter": {}}))
    within_a_second(lambda: reads(auditor, queued_execution))
    refused(auditor.get("/orders/order-123"), 404, "not-found")
    assert ok(auditor.get("/orders"))["data"] == []
    assert [each["$id"] for each in ok(customer.get("/orders"))["data"]]
    ok(customer.delete(f"/grants/{made['$id']}"))
    within_a_second(lambda: not reads(auditor, queued_execution))


def test_grant_of_an_order_shows_that_order_with_its_executions(
    customer: httpx.Client, auditor: httpx.Client, queued_execution: str, catalog: Catalog
) -> None:
    path = f"/executions/{queued_execution}"
    of_it = ok(customer.post("/grants", json=GRANT | {"executions": [queued_execution]}))
    within_a_second(lambda: reads(auditor, queued_execution))
    assert ok(auditor.get(f"{path}?expand=order"))["order"] == catalog.order
    refused(auditor.get(f"{path}/order"), 404, "not-found")
    of_order = ok(customer.post("/grants", json=GRANT | {"order": catalog.order}))
    within_a_second(lambda: auditor.get(f"{path}/order").status_code == 200)
    shown = ok(auditor.get(f"{path}?expand=order,customer"))
    assert (shown["order"]["$id"], shown["customer"]) == (catalog.order, catalog.customer)
    for path in (f"/orders/{catalog.order}", f"/users/{catalog.customer}"):
        refused(auditor.get(path), 404, "not-found")
    for made in (of_it, of_order):
        ok(customer.delete(f"/grants/{made['$id']}"))


def test_dry_run_of_a_grant_records_nothing(customer: httpx.Client, api: httpx.Client) -> None:
    ok(customer.post("/grants?dryRun=true", json=GRANT | {"auditor": "carl", "filter": {}}))
    assert ok(api.get("/grants", params={"auditor": "carl"}))["data"] == []


def test_grant_of_everything_is_only_for_executions() -> None:
    at = datetime(2026, 11, 28, tzinfo=UTC)
    assert condition_of(Grant("g", "ann", "Audit", "admin", at, at, filter={})) != EVERYTHING


def granted_stream(customer: httpx.Client, auditor: httpx.Client, execution: str) -> str:
    """Grant an execution; return the grant once the auditor can read by it."""
    made = ok(customer.post("/grants", json=GRANT | {"executions": [execution]}))
    within_a_second(lambda: reads(auditor, execution))
    return str(made["$id"])


@pytest.mark.parametrize("path", ["/events?from=start", "/executions/{}/logs"])
def test_stream_of_an_auditor_ends_when_its_grant_is_revoked(
    customer: httpx.Client, auditor: httpx.Client, running_execution: str, path: str
) -> None:
    grant = granted_stream(customer, auditor, running_execution)
    url, headers = path.format(running_execution), {"Accept": "text/event-stream"}
    with auditor.stream("GET", url, headers=headers, timeout=10) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        next(lines)
        ok(customer.delete(f"/grants/{grant}"))
        assert "event: closing" in list(lines)


def drain(socket: ClientConnection) -> None:
    while True:
        socket.recv(timeout=10)


def test_websocket_of_an_auditor_ends_when_its_grant_is_revoked(
    server: Serving, customer: httpx.Client, auditor: httpx.Client, running_execution: str
) -> None:
    grant = granted_stream(customer, auditor, running_execution)
    url = server.url.replace("http", "ws") + f"/api/executions/{running_execution}/watch"
    headers = {"Authorization": f"Bearer {ANN.name}", "X-Purpose": "Invoice 7"}
    with connect(url, additional_headers=headers) as socket:
        socket.recv()
        ok(customer.delete(f"/grants/{grant}"))
        with pytest.raises(ConnectionClosed) as closed:
            drain(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


def test_stream_of_an_auditor_continues_while_other_grants_begin_and_end(
    customer: httpx.Client, auditor: httpx.Client, executions: Executions
) -> None:
    one, other = executions.running(), executions.running()
    grant = granted_stream(customer, auditor, one)
    headers = {"Accept": "text/event-stream"}
    with auditor.stream("GET", f"/executions/{one}/events", headers=headers, timeout=20) as stream:
        lines = stream.iter_lines()
        next(lines)
        ok(customer.delete(f"/grants/{granted_stream(customer, auditor, other)}"))
        within_a_second(lambda: not reads(auditor, other))
        time.sleep(2 * FRESH)
        executions.tell(one, "progress", progress=7)
        assert any('"progress":7' in line for line in lines)
    ok(customer.delete(f"/grants/{grant}"))
