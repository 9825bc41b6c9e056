"""Direct commands are answered in the protocol, in order, and as through ASGI."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import wraps
from typing import Any

import httpx
import pytest

from api.transport import direct
from api.web.direct_commands import DirectCommand, DirectCommands
from api.web.endpoint import Endpoint
from domain.eventlog.append import Transaction
from tests.support.api_client import Executions
from tests.support.running_server import AUTHORIZED, Serving, serving

JSON = {"content-type": "application/json"}
LINE = b'{"level": "info", "message": "one"}'
VOLATILE = frozenset({"date", "etag", "log-position", "connection"})
Case = tuple[str, bytes, dict[str, str], int]
Answer = tuple[int, dict[str, str], Any]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[DirectCommand]:
    """The requests that were handled as direct commands."""
    seen: list[DirectCommand] = []
    find = DirectCommands.find

    def find_and_record(self: DirectCommands, *given: Any) -> DirectCommand | None:
        found = find(self, *given)
        if found is not None:
            seen.append(found)
        return found

    monkeypatch.setattr(DirectCommands, "find", find_and_record)
    return seen


def message(
    path: str, body: bytes = b"{}", headers: dict[str, str] | None = None, method: str = "POST"
) -> bytes:
    given = {"host": "test", "content-length": str(len(body)), **AUTHORIZED, **(headers or {})}
    fields = {name.lower(): value for name, value in given.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(wire: socket.socket, count: int) -> Iterator[Answer]:
    stream = wire.makefile("rb")
    for _ in range(count):
        status = int(stream.readline().split()[1])
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        yield status, headers, json.loads(stream.read(int(headers["content-length"])) or b"null")


def exchange(server: Serving, *parts: bytes, count: int = 1) -> list[Answer]:
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as wire:
        for part in parts:
            wire.sendall(part)
        return list(answers(wire, count))


def test_command_with_an_unknown_token_goes_through_asgi(
    server: Serving, executions: Executions, taken: list[DirectCommand]
) -> None:
    url = f"/api/executions/{executions.running()}/progress"
    taken.clear()
    headers = JSON | {"authorization": "Bearer wrong"}
    ((status, _, problem),) = exchange(server, message(url, b'{"progress": 12}', headers))
    assert (status, problem["type"]) == (401, "/problems/unauthenticated")
    assert taken == []


@pytest.mark.parametrize(
    "case",
    [
        ("progress", b'{"progress": 12}', {}, 200),
        ("progress", b'{"progress": 12}', {"prefer": "return=minimal"}, 200),
        ("progress", b'{"progress": 120}', {}, 422),
        ("progress", b'{"progress": 12', {}, 400),
        ("progress", b'{"progress": 12}', {"content-type": "text/plain"}, 415),
        ("progress", b'{"progress": 12}', {"if-match": '"999"'}, 412),
        ("retry", b"{}", {}, 409),
        ("steps/one/start", b'{"name": "One"}', {}, 200),
        ("steps/one/start", b'{"step": "two"}', {}, 422),
        ("logs", LINE, {}, 200),
        ("logs", b"[" + LINE + b"]", {}, 200),
        ("logs", b'{"level": "loud", "message": "one"}', {}, 422),
    ],
)
def test_direct_answer_equals_the_one_through_asgi(
    server: Serving, executions: Executions, taken: list[DirectCommand], case: Case
) -> None:
    path, body, headers, status = case
    found = []
    both = [executions.running() for _ in range(2)]
    taken.clear()
    for execution, mark in zip(both, ("", "?"), strict=True):  # a query goes through ASGI
        url = f"/api/executions/{execution}/{path}{mark}"
        found += exchange(server, message(url, body, JSON | headers))
    assert len(taken) == 1
    assert [answer[0] for answer in found] == [status, status]
    (_, short, shown), (_, usual, its) = found
    assert short.keys() == usual.keys()
    assert {n: v for n, v in short.items() if n not in VOLATILE | {"content-length"}} == {
        n: v for n, v in usual.items() if n not in VOLATILE | {"content-length"}
    }
    assert shown.keys() == its.keys()
    for name in ("status", "progress", "code", "title", "errors", "appended"):
        assert shown.get(name) == its.get(name)


def test_creation_is_answered_directly(
    server: Serving, executions: Executions, taken: list[Any]
) -> None:
    known = executions.create()
    body = json.dumps({"order": known["order"], "service": known["service"]}).encode()
    taken.clear()
    [(status, headers, shown)] = exchange(server, message("/executions", body))
    assert len(taken) == 1
    assert status == 201
    assert headers["location"] == f"/api/executions/{shown['$id']}"


@pytest.mark.parametrize("late", [10.0, 0.05])
def test_command_with_a_body_in_parts_is_accepted_directly_and_through_asgi(
    server: Serving, running_execution: str, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    """A body that arrives in time is handled directly, otherwise through ASGI."""
    monkeypatch.setattr(direct, "BODY_TIMEOUT", late)
    ways: list[str] = []
    for kind, name in ((DirectCommand, "run"), (Endpoint, "_answer")):
        monkeypatch.setattr(kind, name, _record_calls(getattr(kind, name), ways))
    sent = message(f"/api/executions/{running_execution}/progress", b'{"progress": 33}')
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (sent[:40], sent[40:-10], sent[-10:-4], sent[-4:]):
            wire.sendall(part)
            threading.Event().wait(0.15)
        [(status, _, shown)] = answers(wire, 1)
    assert (status, shown["progress"]) == (200, 33)
    assert ways == (["run"] if late > 1 else ["_answer"])


def test_pipelined_requests_are_answered_in_order(server: Serving, running_execution: str) -> None:
    path = f"/api/executions/{running_execution}"
    sent = [
        message(f"{path}/progress", b'{"progress": 10}'),
        message(path, b"", method="GET"),
        message(f"{path}/progress", b'{"progress": 20}'),
        message(f"{path}/progress", b'{"progress": 130}'),
        message(f"{path}/progress?", b'{"progress": 30}'),
        message(path, b"", method="GET"),
    ]
    found = exchange(server, b"".join(sent), count=len(sent))
    assert [status for status, _, _ in found] == [200, 200, 200, 422, 200, 200]
    assert [shown.get("progress") for _, _, shown in found] == [10, 10, 20, None, 30, 30]


@pytest.mark.parametrize(
    "headers", [{"connection": "close"}, {"expect": "100-continue"}, {"content-encoding": "gzip"}]
)
def test_unusual_request_goes_through_asgi(
    server: Serving, running_execution: str, taken: list[DirectCommand], headers: dict[str, str]
) -> None:
    path = f"/api/executions/{running_execution}/progress"
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as wire:
        wire.sendall(message(path, b'{"progress": 33}', headers))
        head = wire.recv(64)
    assert head.startswith(b"HTTP/1.1 415" if "content-encoding" in headers else b"HTTP/1.1 ")
    assert taken == []


def test_client_that_disconnects_early_does_not_affect_others(
    server: Serving, api: httpx.Client, running_execution: str
) -> None:
    path = f"/api/executions/{running_execution}/progress"
    for value in range(20):
        with closing(socket.create_connection(("127.0.0.1", server.port))) as wire:
            wire.sendall(message(path, b'{"progress": %d}' % value))
    answer = api.post(f"/executions/{running_execution}/progress", json={"progress": 77})
    assert answer.json()["progress"] == 77


def test_running_command_is_answered_before_the_server_stops(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends with the answer."""
    reached, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(Transaction, "confirm", _hold(reached, go_on))
    sent = message("/api/executions/nowhere/progress", b'{"progress": 44}')
    with (
        serving(database) as server,
        closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as wire,
    ):
        wire.sendall(sent)
        assert reached.wait(10)
        server.ask_to_stop()
        threading.Timer(0.5, go_on.set).start()
        [(status, headers, shown)] = answers(wire, 1)
        assert wire.recv(1) == b""
    assert (status, shown["status"]) == (404, 404)
    assert headers["connection"] == "close"


def _hold(reached: threading.Event, go_on: threading.Event) -> Any:
    async def confirm(_: Transaction) -> None:
        reached.set()
        await asyncio.to_thread(go_on.wait, 10)

    return confirm


def _record_calls(method: Any, calls: list[str]) -> Any:
    @wraps(method)
    def noting(*given: Any) -> Any:
        calls.append(method.__name__)
        return method(*given)

    return noting
