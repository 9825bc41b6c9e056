"""Raw HTTP requests: malformed heads, unusual bodies, expectations."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from api.transport import connection_limits
from api.transport.framing import LONGEST_HEAD
from api.web import body as body_module
from api.web.body import MIB, UNCOUNTED
from tests.support.api_client import JSON, Executions, ok, refused
from tests.support.running_server import TOKEN, Serving
from tests.support.waiting import wait_until

BROKEN = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a version that is none": b"GET /healthz HTTP/9.9\r\n\r\n",
    "an unknown method": b"NONSENSE /healthz HTTP/1.1\r\n\r\n",
    "a space in the path": b"GET /a b HTTP/1.1\r\n\r\n",
    "a path that is not ASCII": b"GET /\xff HTTP/1.1\r\n\r\n",
    "a header without a name": b"GET /healthz HTTP/1.1\r\n: x\r\n\r\n",
    "a space in a header's name": b"GET /healthz HTTP/1.1\r\na b: x\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\na: \0\r\n\r\n",
    "a length that is none": b"POST /executions HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    "a negative length": b"POST /executions HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /executions HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": b"POST /executions HTTP/1.1\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
}
SHAKEN = b"GET /events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
HANDSHAKES = {
    "without a key": SHAKEN + b"\r\n",
    "of another version": SHAKEN + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 7\r\n\r\n",
    "with a very long line": SHAKEN + b"a: " + b"x" * 20_000 + b"\r\n\r\n",
    "with very many lines": SHAKEN + b"a: x\r\n" * 1_000 + b"\r\n",
}


@contextmanager
def connected(server: Serving) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as wire:
        yield wire


def answered(wire: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer."""
    head, _, body = receive(wire).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
    }
    while len(body) < int(headers.get("content-length", "0")):
        body += wire.recv(65_536)
    return int(lines[0].split()[1]), headers, body


def receive(wire: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        part = wire.recv(65_536)
        assert part, got
        got += part
    return got


def problem(wire: socket.socket, status: int, code: str) -> JSON:
    """Require a problem document as the answer, and the end of the connection."""
    reported, headers, body = answered(wire)
    document: JSON = json.loads(body)
    assert (reported, headers["content-type"]) == (status, "application/problem+json"), document
    assert (document["type"], document["status"]) == (f"/problems/{code}", status)
    assert headers["connection"] == "close"
    assert wire.recv(1) == b""
    return document


@pytest.mark.parametrize("kind", BROKEN)
def test_malformed_http_is_answered_with_a_problem_document(server: Serving, kind: str) -> None:
    with connected(server) as wire:
        wire.sendall(BROKEN[kind])
        problem(wire, 400, "malformed")


@pytest.mark.parametrize("kind", HANDSHAKES)
def test_impossible_handshake_is_answered_with_a_problem_document(
    server: Serving, kind: str
) -> None:
    with connected(server) as wire:
        wire.sendall(HANDSHAKES[kind])
        problem(wire, 400, "malformed")


def test_websocket_on_an_unknown_path_is_not_found(server: Serving) -> None:
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with connected(server) as wire:
        wire.sendall(SHAKEN.replace(b"/events", b"/nothing") + key)
        problem(wire, 404, "not-found")


@pytest.mark.parametrize("part", [b"x" * 1_000, b"\r\nx: y" * 100], ids=["line", "lines"])
def test_head_without_end_is_cut_off(server: Serving, part: bytes) -> None:
    with connected(server) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\na: b")
        with pytest.raises(ConnectionError):
            send_for_ever(wire, part)


def send_for_ever(wire: socket.socket, part: bytes) -> None:
    for _ in range(100_000):
        wire.sendall(part)


def test_head_that_is_too_long_is_answered_with_a_problem_document(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\na: b")
        time.sleep(0.1)
        wire.sendall(b"x" * (LONGEST_HEAD + 1))
        problem(wire, 431, "head-too-large")


def test_long_head_in_pieces_is_refused(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for _ in range(60):
            time.sleep(0.001)
            wire.sendall(b"x: " + b"y" * 1_000 + b"\r\n")
        wire.sendall(b"\r\n")
        assert answered(wire)[0] == 200


def test_large_body_after_a_head_in_pieces_is_not_counted_as_head(
    server: Serving, queued_execution: str
) -> None:
    body = b'{"nonsense": "' + b"x" * 2 * LONGEST_HEAD + b'"}'
    request = asking(
        f"POST /executions/{queued_execution}/start".encode(),
        f"Content-Length: {len(body)}".encode(),
        body=body,
    )
    with connected(server) as wire:
        wire.sendall(request[:20])
        time.sleep(0.1)
        wire.sendall(request[20:])
        assert answered(wire)[0] == 422


def test_garbage_during_a_stream_is_not_answered_within_it(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(asking(b"GET /events?from=now", b"Accept: text/event-stream"))
        assert b"200 OK" in receive(wire)
        wire.sendall(b"\0\0\0\0")
        rest = b""
        while part := wire.recv(65_536):
            rest += part
        assert b"HTTP/1.1" not in rest


@pytest.mark.parametrize("line", [b"POST /executions/%b/start", b"GET /executions/%b"])
def test_garbage_behind_a_request_does_not_answer_it(
    server: Serving, queued_execution: str, line: bytes
) -> None:
    request = asking(line % queued_execution.encode(), b"Content-Length: 2", body=b"{}")
    with connected(server) as wire:
        wire.sendall(request + b"garbage\r\n\r\n")
        status, headers, _ = answered(wire)
        assert (status, headers["connection"]) == (200, "close")
        assert wire.recv(1) == b""


def asking(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request of the administrator, in bytes."""
    known = (b"Host: x", f"Authorization: Bearer {TOKEN}".encode(), *headers)
    return line + b" HTTP/1.1\r\n" + b"\r\n".join(known) + b"\r\n\r\n" + body


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "GZIP, gzip"])
def test_compressed_body_is_refused_with_advice(
    api: httpx.Client, queued_execution: str, coding: str
) -> None:
    headers = {"Content-Encoding": coding}
    path = f"/executions/{queued_execution}/start"
    reported = refused(
        api.post(path, content=b"\x1f\x8b", headers=headers), 415, "unsupported-media-type"
    )
    assert "Content-Encoding" in reported["detail"]


@pytest.mark.parametrize(
    "media_type",
    [
        'application/json; charset="iso-8859-1"',
        "application/json;charset=UTF-16",
        "application/x-ndjson ; boundary=x; charset = latin1",
    ],
)
def test_json_in_another_charset_is_refused(
    api: httpx.Client, queued_execution: str, media_type: str
) -> None:
    headers = {"Content-Type": media_type}
    path = f"/executions/{queued_execution}/start"
    reported = refused(
        api.post(path, content=b"{}", headers=headers), 415, "unsupported-media-type"
    )
    assert "UTF-8" in reported["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": 'Application/JSON;Charset="UTF8"; x=y'},
        {"Content-Type": "application/vnd.acme+json"},
        {"Content-Encoding": "identity"},
    ],
)
def test_json_is_accepted_under_every_json_media_type(
    api: httpx.Client, queued_execution: str, headers: dict[str, str]
) -> None:
    ok(api.post(f"/executions/{queued_execution}/start", content=b"{}", headers=headers))


def test_expect_continue_is_answered_100(server: Serving, queued_execution: str) -> None:
    line = f"POST /executions/{queued_execution}/start".encode()
    with connected(server) as wire:
        wire.sendall(asking(line, b"Expect: 100-continue", b"Content-Length: 2"))
        assert receive(wire) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(b"{}")
        assert answered(wire)[0] == 200


def test_expect_continue_with_a_body_too_large_is_refused_before_it_is_sent(
    server: Serving, queued_execution: str
) -> None:
    line = f"POST /executions/{queued_execution}/start".encode()
    length = f"Content-Length: {MIB + 1}".encode()
    with connected(server) as wire:
        wire.sendall(asking(line, b"Expect: 100-continue", length))
        assert answered(wire)[0] == 413


def test_chunked_body_is_accepted(server: Serving, queued_execution: str) -> None:
    line = f"POST /executions/{queued_execution}/start".encode()
    with connected(server) as wire:
        wire.sendall(asking(line, b"Transfer-Encoding: chunked", body=b"1\r\n{\r\n"))
        wire.sendall(b"1\r\n}\r\n0\r\n\r\n")
        assert answered(wire)[0] == 200


def test_broken_chunk_is_refused_and_records_nothing(
    server: Serving, api: httpx.Client, queued_execution: str
) -> None:
    line = f"POST /executions/{queued_execution}/start".encode()
    with connected(server) as wire:
        wire.sendall(asking(line, b"Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"))
        problem(wire, 400, "malformed")
    assert ok(api.get(f"/executions/{queued_execution}"))["status"] == "queued"


def test_large_bodies_are_accepted_within_the_memory_budget(
    server: Serving, api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    versioned = server.system.common.bodies
    large = {"state": {"page": "x" * UNCOUNTED}}
    with versioned.holding(versioned.limit - UNCOUNTED):
        response = api.post(f"/executions/{running_execution}/checkpoints", json=large)
        refused(response, 503, "overloaded")
        assert response.headers["retry-after"] == "1"
        executions.tell(running_execution, "checkpoints", state={})
    executions.tell(running_execution, "checkpoints", **large)
    assert versioned.taken == 0


def test_small_chunked_body_reserves_little_memory_once_read(
    server: Serving, api: httpx.Client, queued_execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrunk: list[int] = []
    shrink = body_module.BodyHold.shrink

    def shrink_and_record(hold: body_module.BodyHold, size: int) -> None:
        shrink(hold, size)
        shrunk.append(server.system.common.bodies.taken)

    monkeypatch.setattr(body_module.BodyHold, "shrink", shrink_and_record)
    ok(api.post(f"/executions/{queued_execution}/start", content=iter([b"{", b"}"])))
    assert shrunk == [2, 0]


def test_stalled_large_body_times_out(
    server: Serving, queued_execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "BODY_TIMEOUT", 0.2)
    monkeypatch.setattr(connection_limits, "SWEEP", 0.05)
    line = f"POST /executions/{queued_execution}/start".encode()
    with connected(server) as wire:
        wire.sendall(asking(line, b"Content-Length: 100000", body=b"{"))
        problem(wire, 408, "too-slow")
    wait_until(lambda: server.system.common.bodies.taken == 0)


def test_refused_body_releases_its_memory(
    server: Serving, api: httpx.Client, queued_execution: str
) -> None:
    wrong = {"nonsense": "x" * UNCOUNTED}
    refused(api.post(f"/executions/{queued_execution}/start", json=wrong), 422, "invalid")
    assert server.system.common.bodies.taken == 0
