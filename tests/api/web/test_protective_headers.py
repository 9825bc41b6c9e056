"""All answers have headers that prevent sniffing and shared caching."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest

from api.web.operation import Operation
from tests.api.transport.test_broken_http import HANDSHAKES, answered, asking, connected
from tests.api.web.test_headers import HANDSHAKE
from tests.support.api_client import Executions
from tests.support.operation_examples import BODIES, STEP, path_of
from tests.support.operations import OPERATIONS
from tests.support.running_server import Serving

READS = [
    row for row in OPERATIONS if row.method == "GET" and ("{id}" in row.path or row.answer_forms)
]
BROKEN = {
    "no HTTP": b"hello\r\n\r\n",
    "nothing there": asking(b"GET /nowhere"),
    "no stream": asking(b"GET /nowhere", *HANDSHAKE),
    "no such id": asking(b"GET /executions/a%00/watch", *HANDSHAKE),
    "a broken handshake": HANDSHAKES["without a key"],
    "a stream": asking(b"GET /events?from=now", b"Accept: text/event-stream"),
    "a socket": asking(b"GET /events?from=now", *HANDSHAKE),
}


def require_protective(headers: Mapping[str, str]) -> None:
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] in {"no-referrer", "same-origin"}
    assert headers["cache-control"].startswith(("no-store", "private", "no-cache", "public"))


def names(operation: Operation) -> str:
    return operation.name


def test_every_answer_has_protective_headers(api: httpx.Client) -> None:
    for operation in OPERATIONS:
        body = BODIES.get(operation.name)
        response = api.request(operation.method, path_of(operation), json=body)
        assert response.headers.get_list("x-content-type-options") == ["nosniff"], operation.name
        assert len(response.headers.get_list("content-security-policy")) == 1, operation.name
        require_protective(response.headers)


@pytest.mark.parametrize("kind", BROKEN)
def test_every_answer_of_other_routes_has_protective_headers(server: Serving, kind: str) -> None:
    with connected(server) as wire:
        wire.sendall(BROKEN[kind])
        status, headers, _ = answered(wire)
    assert headers["x-content-type-options"] == "nosniff"
    if status != 101:  # the route is a WebSocket
        require_protective(headers)


@pytest.fixture(scope="module")
def execution(executions: Executions) -> str:
    found = executions.running(steps=[STEP])
    executions.tell(found, "complete", success=True, output=None, summary="Done")
    return found


@pytest.mark.parametrize("operation", READS, ids=names)
def test_cacheable_or_negotiated_answer_varies_by_accept_and_authorization(
    api: httpx.Client, execution: str, operation: Operation
) -> None:
    identity = execution
    if operation.name == "readJob":
        identity = api.post("/executions/bulk", json=BODIES["bulkExecutions"]).json()["$id"]
    path, versions = path_of(operation, identity), "?from=1&to=2"
    queries = {row.name for row in operation.parameters} & {"version"}
    asked = path + (versions if operation.name == "diff" else "?version=2" if queries else "")
    with api.stream("GET", asked) as response:
        varies = {name.strip() for name in response.headers.get("vary", "").split(",")}
        kept = "immutable" in response.headers.get("cache-control", "")
    if kept or operation.answer_forms:
        assert {"accept", "authorization"} <= varies
