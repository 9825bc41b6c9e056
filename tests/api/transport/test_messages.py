"""The framing of HTTP messages, and the connection after an early answer."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from api.transport import half_closed, protocols
from api.transport.framing import EARNED, LONGEST_HEAD, TRAILERS, FramingBudget
from api.web.body import MIB
from tests.api.transport.test_broken_http import answered, asking, connected, problem, send_for_ever
from tests.support.api_client import ok, refused
from tests.support.running_server import TOKEN, Serving

CHUNKED = b"Transfer-Encoding: chunked"
SHAKEN = (
    b"GET /events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)
AUTHORIZATION = b"Authorization: Bearer " + TOKEN.encode()
ENDLESS = {
    "trailers": (b"0\r\n", b"X: y\r\n" * 100),
    "one trailer": (b"0\r\nX: ", b"y" * 1_000),
    "an extension": (b"1;x=", b"y" * 1_000),
    "zeros before a size": (b"", b"0" * 1_000),
}


@pytest.fixture
def start(queued_execution: str) -> bytes:
    return f"POST /executions/{queued_execution}/start".encode()


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize(
    "host", [(b"Host: x",), (b"Host: x", AUTHORIZATION)], ids=["stranger", "admin"]
)
def test_framing_without_end_is_cut_off(
    server: Serving, start: bytes, kind: str, host: tuple[bytes, ...]
) -> None:
    begin, part = ENDLESS[kind]
    with connected(server) as wire:
        wire.sendall(
            start + b" HTTP/1.1\r\n" + b"\r\n".join((*host, CHUNKED)) + b"\r\n\r\n" + begin
        )
        with pytest.raises(ConnectionError):
            send_for_ever(wire, part)


def test_framing_that_is_too_long_is_answered_with_a_problem_document(
    server: Serving, start: bytes
) -> None:
    with connected(server) as wire:
        wire.sendall(asking(start, CHUNKED, body=b"1\r\n{\r\n"))
        time.sleep(0.1)
        wire.sendall(b"1;x=" + b"y" * (LONGEST_HEAD + EARNED))
        problem(wire, 431, "head-too-large")


def test_body_in_chunks_of_one_byte_is_accepted(server: Serving, start: bytes) -> None:
    body = b"{" + b" " * 30_000 + b"}"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with connected(server) as wire:
        for place in range(0, len(request := asking(start, CHUNKED, body=chunks)), 10_000):
            wire.sendall(request[place : place + 10_000])
        assert answered(wire)[0] == 200


def test_token_in_a_trailer_is_ignored(server: Serving, start: bytes) -> None:
    head = start + b" HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n\r\n"
    with connected(server) as wire:
        wire.sendall(head + b"2\r\n{}\r\n0\r\n" + AUTHORIZATION + b"\r\n\r\n")
        assert answered(wire)[0] == 401


def test_trailer_replaces_no_header(server: Serving, start: bytes) -> None:
    trailers = b'Authorization: Bearer no\r\nIf-Match: "9"\r\nContent-Type: text/plain\r\n\r\n'
    with connected(server) as wire:
        wire.sendall(asking(start, CHUNKED, body=b"2\r\n{}\r\n0\r\n" + trailers))
        assert answered(wire)[0] == 200
        wire.sendall(asking(b"GET /events?from=now"))
        assert answered(wire)[0] == 406
    assert TRAILERS == []


def test_handshake_behind_a_request_that_is_not_answered_is_refused(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(asking(b"GET /healthz") + SHAKEN + AUTHORIZATION + b"\r\n\r\n")
        got = everything(wire)
    assert re.findall(rb"HTTP/1\.1 (\d+)", got) == [b"200"]


def test_token_in_the_trailer_of_a_handshake_is_ignored(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(SHAKEN + CHUNKED + b"\r\n\r\n0\r\n" + AUTHORIZATION + b"\r\n\r\n")
        problem(wire, 400, "malformed")


def test_answer_before_the_body_has_arrived_closes_the_connection(
    server: Serving, start: bytes
) -> None:
    with connected(server) as wire:
        wire.sendall(start + b" HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n\r\n")
        problem(wire, 401, "unauthenticated")


def test_unread_body_that_has_arrived_keeps_the_connection_open(server: Serving) -> None:
    with connected(server) as wire:
        for _ in range(2):
            wire.sendall(asking(b"GET /healthz", b"Content-Length: 2", body=b"{}"))
            status, headers, _ = answered(wire)
            assert (status, "connection" in headers) == (200, False)


def test_refusal_can_be_read_while_the_body_is_still_sent(
    api: httpx.Client, queued_execution: str
) -> None:
    def large() -> Iterator[bytes]:
        for _ in range(8):
            time.sleep(0.01)
            yield b" " * MIB

    path = f"/executions/{queued_execution}/start"
    response = api.post(path, content=large())
    refused(response, 413, "too-large")
    assert response.headers["connection"] == "close"
    assert ok(api.get(f"/executions/{queued_execution}"))["status"] == "queued"


@pytest.mark.parametrize(("limit", "value"), [("SECONDS", 0.1), ("MOST_BYTES", 10_000)])
def test_client_that_continues_to_send_after_the_answer_is_cut_off(
    server: Serving, start: bytes, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(half_closed, limit, value)
    with connected(server) as wire:
        wire.sendall(start + b" HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n\r\n")
        assert answered(wire)[0] == 401
        with pytest.raises(ConnectionError):
            send_slowly(wire, b"400\r\n" + b"x" * 1_024 + b"\r\n")


def send_slowly(wire: socket.socket, part: bytes) -> None:
    for _ in range(1_000):
        wire.sendall(part)
        time.sleep(0.002)


def test_request_after_the_last_answer_is_not_executed(
    server: Serving, api: httpx.Client, start: bytes, queued_execution: str
) -> None:
    with connected(server) as wire:
        wire.sendall(start + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        assert answered(wire)[0] == 401
        wire.sendall(b"{}" + asking(start, b"Content-Length: 2", body=b"{}"))
        assert wire.recv(1) == b""
    assert ok(api.get(f"/executions/{queued_execution}"))["status"] == "queued"


def test_pipelined_requests_are_answered_in_order_up_to_a_limit(
    server: Serving,
) -> None:
    with connected(server) as wire:
        wire.sendall(asking(b"GET /healthz") * protocols.MOST_PIPELINED)
        assert statuses(wire, protocols.MOST_PIPELINED) == [b"200"] * protocols.MOST_PIPELINED
        wire.sendall(asking(b"GET /healthz") * 5_000)
        got = everything(wire)
    assert got.count(b"HTTP/1.1 200") <= protocols.MOST_PIPELINED + 1


def statuses(wire: socket.socket, count: int) -> list[bytes]:
    got = b""
    while len(found := re.findall(rb"HTTP/1\.1 (\d+)", got)) < count or not got.endswith(b"}"):
        got += wire.recv(65_536)
    return found


def everything(wire: socket.socket) -> bytes:
    got = b""
    try:
        while part := wire.recv(65_536):
            got += part
    except ConnectionError:
        pass
    return got


def test_framing_budget_grows_with_the_body_and_is_reset_by_the_next_message() -> None:
    budget = FramingBudget()
    assert not budget.spend(LONGEST_HEAD, 0)
    assert not budget.spend(EARNED + 1, 1)
    assert budget.spend(1, 0)
    budget.begin()
    assert not budget.spend(LONGEST_HEAD, 0)
