"""A consumer that stops reading is disconnected, and resumes without loss."""

from __future__ import annotations

import json
import socket as sockets
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from api.transport import websocket_protocol
from tests.support.api_client import Executions
from tests.support.delivery_proof import send_all
from tests.support.running_server import TOKEN, Serving
from tests.support.stream_consumers import (
    OURS,
    head,
    narrow_connection,
    past,
    read_until_closed,
    socket,
)
from tests.support.waiting import wait_until

LARGE = {"state": {"page": "x" * 100_000}}
MANY = 20


def read_late_over_sse(server: Serving, begin: int) -> Iterator[list[int]]:
    """At first read nothing; then yield the positions of the complete frames."""
    with narrow_connection(server) as sleeper:
        sleeper.sendall(
            f"GET /api/events?from={begin} HTTP/1.1\r\nHost: localhost\r\n"
            f"Accept: text/event-stream\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        yield []
        yield whole_frames(sleeper)


def whole_frames(sleeper: sockets.socket) -> list[int]:
    received = b""
    with suppress(ConnectionError):
        while part := sleeper.recv(65_536):
            received += part
    whole = received[: received.rfind(b"\n\n") + 2]
    return [
        json.loads(line.removeprefix(b"data: "))["position"]
        for line in whole.splitlines()
        if line.startswith(b'data: {"specversion"')
    ]


def read_late_over_a_websocket(server: Serving, begin: int) -> Iterator[list[int]]:
    """As `read_late_over_sse`: the client stops reading the socket as long as its queue is full."""
    with socket(server, "/events", queue=1, **{"from": begin}) as connected:
        yield []
        yield [
            frame["position"] for frame in read_until_closed(connected) if frame["type"] not in OURS
        ]


@pytest.mark.parametrize("asleep", [read_late_over_sse, read_late_over_a_websocket])
def test_slow_consumer_is_disconnected_and_resumes_without_loss(
    server: Serving,
    api: httpx.Client,
    executions: Executions,
    monkeypatch: pytest.MonkeyPatch,
    asleep: Callable[[Serving, int], Iterator[list[int]]],
) -> None:
    cut_sooner(server, monkeypatch)
    written = [executions.running(), executions.running()]
    begin = head(api)
    sleeper = asleep(server, begin)
    next(sleeper)
    for execution in written:
        write_much(api, execution)
    wait_until(lambda: server.system.hub.open == 0)
    read = next(sleeper)
    assert 0 < len(read) < 2 * MANY
    assert read == list(range(begin + 1, begin + 1 + len(read)))
    rest = past(server, "/events", **{"from": read[-1]})
    assert [event["position"] for event in rest] == list(range(read[-1] + 1, head(api) + 1))


def test_slow_websocket_gets_the_reason_and_its_cursor(
    server: Serving, api: httpx.Client, executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_sooner(server, monkeypatch)
    execution = executions.running()
    with socket(server, "/events", queue=1) as connected:
        wait_until(lambda: server.system.hub.open == 1)
        write_much(api, execution)
        wait_until(lambda: all(one.done.done() for one in server.system.hub._subscribers))
        read = [frame["position"] for frame in read_until_closed(connected)]
    assert (connected.close_code, connected.close_reason) == (1013, f"position {read[-1]}")


def write_much(api: httpx.Client, execution: str) -> None:
    """Write more than the buffers between a server and a client hold."""
    save = {"command": "checkpoint", "execution": execution, **LARGE}
    send_all(api, [save] * MANY)


def cut_sooner(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disconnect a consumer that does not read after one second instead of thirty."""
    wheel = server.system.hub.heartbeat
    monkeypatch.setattr(wheel, "second", 0.05)
    monkeypatch.setattr(wheel, "unread_timeout", 1.0)
    monkeypatch.setattr(websocket_protocol, "CLOSE_TIMEOUT", 0.5)
