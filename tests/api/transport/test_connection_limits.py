"""What strangers may keep of a server: nothing for long, little of its memory, and no admin's place."""

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
    received,
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
    """Only so many connections may be open."""
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
def test_connection_whose_request_does_not_come_is_closed(server: Serving, kind: str) -> None:
    with connected(server) as wire:
        wire.sendall(SLOW[kind])
        assert closed(wire)


@pytest.mark.usefixtures("impatient")
def test_head_that_comes_too_slowly_is_answered_408(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(SLOW["a part of a head"])
        head = received(wire).partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 408 ")
        assert head.count(b"connection: close") == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", BODIES)
def test_body_that_comes_too_slowly_is_answered_408(server: Serving, kind: str) -> None:
    with connected(server) as wire:
        wire.sendall(BODIES[kind])
        problem(wire, 408, "too-slow")


@pytest.mark.usefixtures("impatient")
def test_answered_connection_is_not_closed_for_a_slow_request(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(asking(b"GET /events?from=now", b"Accept: text/event-stream"))
        wire.settimeout(1.0)
        with pytest.raises(TimeoutError):
            closed(wire)


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_idle_strangers_give_way_to_those_who_come(server: Serving, sent: bytes) -> None:
    with ExitStack() as opened, place_for(server, 20) as limits:
        strangers = [opened.enter_context(connected(server)) for _ in range(40)]
        for stranger in strangers:
            try:
                stranger.sendall(sent)
            except ConnectionError:  # it has given way
                continue
        for _ in range(40):
            assert "data" in answer_of(server)
        assert limits.open <= 20


def test_strangers_who_are_hung_up_on_give_way(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        direct, "BODY_TIMEOUT", 0.05
    )  # else each answer waits a second for the body
    unread_body = b"POST /executions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with ExitStack() as opened, place_for(server, 20):
        for _ in range(20):
            wire = opened.enter_context(connected(server))
            wire.sendall(unread_body)
            assert answered(wire)[0] == 401
        assert "data" in answer_of(server)


def test_strangers_who_do_not_read_give_way(server: Serving) -> None:
    with ExitStack() as opened, place_for(server, 10) as limits:
        for _ in range(10):
            wire = opened.enter_context(closing_soon(server))
            wire.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        wait_until(lambda: limits.held_bytes > 0)
        assert "data" in answer_of(server)


@contextmanager
def closing_soon(server: Serving) -> Iterator[socket.socket]:
    """A connection that takes little into its own buffers."""
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", server.port))
        yield wire


@pytest.mark.usefixtures("impatient")
def test_stranger_who_does_not_read_is_cut(server: Serving) -> None:
    with closing_soon(server) as wire:
        wire.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        wait_until(lambda: server.limits.held_bytes > 0)
        wait_until(lambda: server.limits.held_bytes == 0)


class Aborted:
    """A transport of uvloop's after its end."""

    def is_closing(self) -> bool:
        return True

    def write(self, _: bytes) -> None:
        raise RuntimeError("the handler is closed")


@pytest.mark.anyio
async def test_answer_to_a_stranger_who_was_cut_is_dropped() -> None:
    transport = CoalescingTransport(cast(asyncio.Transport, Aborted()))
    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    transport.write(b"{}")
    transport.flush()


def test_streams_keep_their_places_and_newcomers_are_told_to_come_back(server: Serving) -> None:
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


def test_incomplete_heads_have_a_limit_all_together(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "MOST_HELD", 210 * KIB)
    with ExitStack() as opened:
        wires = [opened.enter_context(connected(server)) for _ in range(20)]
        for number, wire in enumerate(wires):
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\na: " + b"x" * 40 * KIB)
            wait_until(partial(keeps, server, min(number + 1, 5) * 40 * KIB))
        assert closed(wires[0])
        wires[-1].sendall(b"\r\n\r\n")
        assert answered(wires[-1])[0] == 200
    wait_until(lambda: server.limits.held_bytes == 0)


def test_answered_strangers_have_a_limit_all_together(
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


def test_address_has_a_limit_of_its_own(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_until(lambda: server.limits.open == 0)
    monkeypatch.setattr(server.limits, "per_address", 2)
    with connected(server), connected(server), connected(server) as third:
        problem(third, 429, "rate-limited")
    wait_until(lambda: server.limits.open == 0)
    with connected(server) as wire:
        wire.sendall(asking(b"GET /healthz"))
        assert answered(wire)[0] == 200


class Gone(Aborted):
    """A transport whose client went before its address was read."""

    def get_extra_info(self, _: str) -> None:
        return None


@pytest.mark.anyio
async def test_connection_that_is_gone_at_once_is_let_go() -> None:
    limits = ConnectionLimits(2, per_address=2)
    state, transport = LimitedState(limits), cast(asyncio.Transport, Gone())
    newcomer = Newcomer(Config("api"), state, {}, make=HttpProtocol)
    newcomer.connection_made(transport)
    assert limits.open == 1
    newcomer.connection_lost(None)
    assert limits.open == 0


def test_strangers_take_no_descriptor_that_the_database_needs(database: str) -> None:
    with serving(database, descriptors=256) as service:
        address = ("127.0.0.1", service.port)
        with ExitStack() as opened:
            for number in range(400):
                opened.enter_context(socket.create_connection(address, timeout=10))
                if number % 16 == 0:
                    time.sleep(0.02)  # more than wait to be accepted are tried again after a second
            for _ in range(20):
                assert httpx.get(f"{service.url}/api/users", headers=AUTHORIZED).status_code == 200
        assert "Too many open files" not in service.log()


def test_limits_leave_a_reserve_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=Path(), database_connections=10)
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    assert connection_limits.backlog() + limits_of_process(settings).most <= 256 - 64 - 30


def keeps(server: Serving, least: int) -> bool:
    """Whether the server keeps so many bytes of heads."""
    return server.limits.held_bytes >= least
