"""Limits of connections without authentication: time, memory, descriptors, and the number of connections."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import httpx
import pytest
from uvicorn.config import Config

from api.settings import Settings
from api.transport import connection_limits, direct
from api.transport.connection_limits import ConnectionLimits, LimitedState, limits_of_process
from api.transport.newcomer import Newcomer
from api.transport.protocols import CoalescingTransport, HttpProtocol
from api.web.body import KIB
from tests.api.transport.test_broken_http import (
    answered,
    asking,
    connected,
    problem,
    receive,
)
from tests.api.web.test_headers import HANDSHAKE
from tests.support.api_client import JSON
from tests.support.running_server import AUTHORIZED, Serving
from tests.support.service_process import serving
from tests.support.waiting import wait_until

SLOW = {
    "nothing": b"",
    "empty lines": b"\r\n\r\n",
    "a part of a head": b"GET /healthz HTTP/1.1\r\nHost: x\r\na",
    "a request and a part of the next": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal",
}
AFTER_ANOTHER = asking(b"GET /healthz") + asking(
    b"POST /session", b"Content-Length: 100000", body=b"{"
)
BODIES = {
    "small": asking(b"POST /executions", b"Content-Length: 10", body=b"{"),
    "in chunks": asking(b"POST /executions", b"Transfer-Encoding: chunked", body=b"1\r\n{\r\n"),
    "large": asking(b"POST /executions", b"Content-Length: 100000", body=b"{"),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("HEAD_TIMEOUT", "BODY_TIMEOUT", "UNREAD_TIMEOUT"):
        monkeypatch.setattr(connection_limits, limit, 0.3)
    monkeypatch.setattr(connection_limits, "SWEEP", 0.05)


@contextmanager
def place_for(server: Serving, connections: int) -> Iterator[ConnectionLimits]:
    """Limit the number of open connections."""
    wait_until(lambda: server.limits.open == 0)
    limits, before = server.limits, server.limits.most
    limits.most = connections
    try:
        yield limits
    finally:
        limits.most = before


def closed(wire: socket.socket) -> bool:
    try:
        while wire.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


def answer_of(server: Serving) -> JSON:
    found: JSON = httpx.get(f"{server.url}/api/users", headers=AUTHORIZED).json()
    return found


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", SLOW)
def test_connection_without_a_request_is_closed(server: Serving, kind: str) -> None:
    with connected(server) as wire:
        wire.sendall(SLOW[kind])
        assert closed(wire)


@pytest.mark.usefixtures("impatient")
def test_head_that_arrives_too_slowly_is_answered_408(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(SLOW["a part of a head"])
        head = receive(wire).partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 408 ")
        assert head.count(b"connection: close") == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", BODIES)
def test_body_that_arrives_too_slowly_is_answered_408(server: Serving, kind: str) -> None:
    with connected(server) as wire:
        wire.sendall(BODIES[kind])
        problem(wire, 408, "too-slow")


@pytest.mark.usefixtures("impatient")
def test_slow_body_behind_another_request_is_noticed_after_the_answer_to_that(
    server: Serving,
) -> None:
    with connected(server) as wire:
        wire.sendall(AFTER_ANOTHER)
        assert closed(wire)


@pytest.mark.usefixtures("impatient")
def test_answered_connection_is_not_closed_for_a_slow_request(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(asking(b"GET /events?from=now", b"Accept: text/event-stream"))
        wire.settimeout(1.0)
        with pytest.raises(TimeoutError):
            closed(wire)


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_idle_unauthenticated_connections_are_closed_for_new_ones(
    server: Serving, sent: bytes
) -> None:
    with ExitStack() as opened, place_for(server, 20) as limits:
        strangers = [opened.enter_context(connected(server)) for _ in range(40)]
        for stranger in strangers:
            try:
                stranger.sendall(sent)
            except ConnectionError:  # it was closed for a new one
                continue
        for _ in range(40):
            assert "data" in answer_of(server)
        assert limits.open <= 20


def test_half_closed_connections_are_closed_for_new_ones(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        direct, "BODY_TIMEOUT", 0.05
    )  # otherwise each answer waits a second for the body
    unread_body = b"POST /executions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with ExitStack() as opened, place_for(server, 20):
        for _ in range(20):
            wire = opened.enter_context(connected(server))
            wire.sendall(unread_body)
            assert answered(wire)[0] == 401
        assert "data" in answer_of(server)


def test_unauthenticated_connections_that_do_not_read_are_closed_for_new_ones(
    server: Serving,
) -> None:
    with ExitStack() as opened, place_for(server, 10) as limits:
        for _ in range(10):
            wire = opened.enter_context(closing_soon(server))
            wire.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        wait_until(lambda: limits.held_bytes > 0)
        assert "data" in answer_of(server)


@contextmanager
def closing_soon(server: Serving) -> Iterator[socket.socket]:
    """A connection with small buffers."""
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", server.port))
        yield wire


@pytest.mark.usefixtures("impatient")
def test_unauthenticated_connection_that_does_not_read_is_cut(server: Serving) -> None:
    with closing_soon(server) as wire:
        wire.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        wait_until(lambda: server.limits.held_bytes > 0)
        wait_until(lambda: server.limits.held_bytes == 0)


class Aborted:
    """A transport of uvloop that has ended."""

    def is_closing(self) -> bool:
        return True

    def write(self, _: bytes) -> None:
        raise RuntimeError("the handler is closed")


@pytest.mark.anyio
async def test_answer_to_a_connection_that_was_cut_is_dropped() -> None:
    transport = CoalescingTransport(cast(asyncio.Transport, Aborted()))
    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    transport.write(b"{}")
    transport.flush()


def test_new_connections_beyond_the_limit_get_503_while_streams_stay_open(server: Serving) -> None:
    stream = asking(b"GET /events?from=now", b"Accept: text/event-stream")
    socket_ = asking(b"GET /events?from=now", *HANDSHAKE)
    with ExitStack() as opened, place_for(server, 10):
        wires = [opened.enter_context(connected(server)) for _ in range(10)]
        for wire, request in zip(wires, [stream, socket_] * 5, strict=True):
            wire.sendall(request)
            answered(wire)
        with connected(server) as late:
            status, headers, body = answered(late)
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert b"overloaded" in body
            assert late.recv(1) == b""
        wires[1].close()
        wait_until(lambda: server.limits.open < 10)
        wires[0].close()
        wait_until(lambda: server.limits.open < 9)
        assert "data" in answer_of(server)


def test_incomplete_heads_have_a_common_memory_limit(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "MOST_HELD", 210 * KIB)
    with ExitStack() as opened:
        wires = [opened.enter_context(connected(server)) for _ in range(20)]
        for number, wire in enumerate(wires):
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\na: " + b"x" * 40 * KIB)
            wait_until(partial(holds_at_least, server, min(number + 1, 5) * 40 * KIB))
        assert closed(wires[0])
        wires[-1].sendall(b"\r\n\r\n")
        assert answered(wires[-1])[0] == 200
    wait_until(lambda: server.limits.held_bytes == 0)


def test_answered_unauthenticated_connections_have_a_common_memory_limit(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "MOST_HELD", 5 * connection_limits.HTTP_BYTES)
    wait_until(lambda: server.limits.open == 0)
    with ExitStack() as opened:
        for _ in range(10):
            wire = opened.enter_context(connected(server))
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answered(wire)[0] == 200
        wait_until(lambda: server.limits.open == 5)


def test_connections_of_an_address_have_a_limit(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: server.limits.open == 0)
    monkeypatch.setattr(server.limits, "per_address", 2)
    with connected(server), connected(server), connected(server) as third:
        problem(third, 429, "rate-limited")
    wait_until(lambda: server.limits.open == 0)
    with connected(server) as wire:
        wire.sendall(asking(b"GET /healthz"))
        assert answered(wire)[0] == 200


class Gone(Aborted):
    """A transport whose client disconnected before its address was read."""

    def get_extra_info(self, _: str) -> None:
        return None


@pytest.mark.anyio
async def test_connection_that_ends_at_once_is_not_counted() -> None:
    limits = ConnectionLimits(2, per_address=2)
    state, transport = LimitedState(limits), cast(asyncio.Transport, Gone())
    newcomer = Newcomer(Config("api"), state, {}, make=HttpProtocol)
    newcomer.connection_made(transport)
    assert limits.open == 1
    newcomer.connection_lost(None)
    assert limits.open == 0


def test_unauthenticated_connections_leave_descriptors_for_the_database(database: str) -> None:
    with serving(database, descriptors=256) as service:
        address = ("127.0.0.1", service.port)
        with ExitStack() as opened:
            for number in range(400):
                opened.enter_context(socket.create_connection(address, timeout=10))
                if number % 16 == 0:
                    time.sleep(0.02)  # connections beyond the backlog are retried after a second
            for _ in range(20):
                assert httpx.get(f"{service.url}/api/users", headers=AUTHORIZED).status_code == 200
        assert "Too many open files" not in service.log()


def test_limits_leave_a_reserve_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=Path(), database_connections=10)
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    assert connection_limits.backlog() + limits_of_process(settings).most <= 256 - 64 - 30


def holds_at_least(server: Serving, least: int) -> bool:
    """Whether the server holds at least so many bytes of heads."""
    return server.limits.held_bytes >= least
