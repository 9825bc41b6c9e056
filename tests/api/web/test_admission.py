"""WebSockets are admitted like HTTP requests: the same ids, rights and refusals."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from api.problems.refusals import refusal
from api.transport.handshake import reason
from api.web.operation import Operation
from api.web.streams.stream_request import STREAM_OPERATIONS
from tests.api.transport.test_broken_http import answered, connected
from tests.api.web.test_headers import HANDSHAKE
from tests.support.api_client import Executions
from tests.support.operation_examples import path_of
from tests.support.operations import OPERATIONS
from tests.support.running_server import TOKEN, Serving
from tests.support.stream_consumers import past

STREAMS = [operation for operation in OPERATIONS if operation.name in STREAM_OPERATIONS]
OF_ONE = [operation for operation in STREAMS if "{id}" in operation.path]
IDS = ["%00", "a%00b", "%FF", "a%20b", "a%2Fb", "%2e%2e", "x" * 300, "no-such"]
TOKENS = {
    "none": b"",
    "another": b"Authorization: Bearer nonsense\r\n",
    "basic": b"Authorization: Basic nonsense\r\n",
    "two": b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
}
SECRET = base64.urlsafe_b64encode(TOKEN.encode()).rstrip(b"=")
PROTOCOLS = {
    "a space": b"executions, bearer.%b x",
    "a bracket": b"bearer.%b(",
    "no comma": b"executions bearer.%b",
    "two tokens": b"bearer.%b, bearer.b",
    "padding": b"bearer.%b==",
}


def names(operation: Operation) -> str:
    return operation.name


def read_refusal(server: Serving, path: str, head: bytes, *, socket: bool) -> tuple[int, Any]:
    """Request a stream as WebSocket or as server-sent events; return the status and the problem of the refusal."""
    fields = (
        b"\r\n".join((b"Host: x", *HANDSHAKE))
        if socket
        else b"Host: x\r\nAccept: text/event-stream"
    )
    with connected(server) as wire:
        wire.sendall(b"GET %b HTTP/1.1\r\n%b\r\n%b\r\n" % (path.encode(), fields, head))
        status, headers, body = answered(wire)
    assert headers["content-type"] == "application/problem+json"
    return status, json.loads(body)


@pytest.mark.parametrize("operation", OF_ONE, ids=names)
@pytest.mark.parametrize("identity", IDS)
def test_impossible_id_is_not_found_over_http_and_websocket(
    server: Serving, operation: Operation, identity: str
) -> None:
    path, admin = path_of(operation, identity), b"Authorization: Bearer %b\r\n" % TOKEN.encode()
    over_http = read_refusal(server, path, admin, socket=False)
    assert read_refusal(server, path, admin, socket=True) == over_http
    assert over_http[0] == 404


@pytest.mark.parametrize("operation", STREAMS, ids=names)
@pytest.mark.parametrize("kind", TOKENS)
def test_stream_without_a_valid_token_is_refused_alike_over_http_and_websocket(
    server: Serving, operation: Operation, kind: str
) -> None:
    path = path_of(operation)
    over_http = read_refusal(server, path, TOKENS[kind], socket=False)
    assert read_refusal(server, path, TOKENS[kind], socket=True) == over_http
    assert over_http[0] in {400, 401}


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_no_token_in_a_subprotocol_is_ever_echoed(server: Serving, kind: str) -> None:
    head = b"Sec-WebSocket-Protocol: " + PROTOCOLS[kind] % SECRET + b"\r\n"
    with connected(server) as wire:
        fields = b"\r\n".join((b"Host: x", *HANDSHAKE))
        wire.sendall(b"GET /events HTTP/1.1\r\n%b\r\n%b\r\n" % (fields, head))
        status, headers, body = answered(wire)
    assert status == 400
    said = f"{headers} {body.decode()}"
    assert SECRET.decode() not in said
    assert TOKEN not in said
    assert "Sec-WebSocket-Protocol" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("invalid Sec-WebSocket-Key header: sesame.", "its header Sec-WebSocket-Key is invalid"),
        ("missing Upgrade header", "its header Upgrade is missing"),
        ("cannot parse sesame", "no valid WebSocket handshake"),
    ],
)
def test_broken_handshake_is_refused_without_quoting_the_client(text: str, said: str) -> None:
    assert said in reason(text)
    assert "sesame" not in reason(text)


def test_monitor_is_another_name_of_watch(
    server: Serving, api: httpx.Client, executions: Executions, completed_execution: str
) -> None:
    for path in (f"/executions/{completed_execution}/", "/executions/"):
        watched = past(server, f"{path}watch", **{"from": "start"})
        assert watched
        assert past(server, f"{path}monitor", **{"from": "start"}) == watched
    received = [
        api.get(
            f"/executions/{completed_execution}/{word}", headers={"Accept": "text/event-stream"}
        )
        for word in ("watch", "monitor")
    ]
    assert received[0].content == received[1].content
    assert b"event: completed" in received[1].content


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        ("GET", 503, "overloaded"),
        ("POST", 504, "outcome-unknown"),
        ("WEBSOCKET", 503, "overloaded"),
    ],
)
def test_request_beyond_the_memory_limit_is_refused(method: str, status: int, code: str) -> None:
    answer = refusal(MemoryError(), {"method": method, "path": "/executions"})
    assert answer.status_code == status
    assert answer.headers["retry-after"]
    assert json.loads(bytes(answer.body))["type"] == f"/problems/{code}"
