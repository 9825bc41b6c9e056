"""Reads that may take long are cancelled with their client, and have a budget of time."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import httpx
import pytest

from domain.errors import TooExpensive
from projections.history.time_travel import History
from tests.support.api_client import ok, refused
from tests.support.running_server import AUTHORIZED, Serving


class Endless:
    """Work that ends only when it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = threading.Event(), threading.Event()

    async def __call__(self, *_: Any, **__: Any) -> Any:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@pytest.mark.parametrize(
    ("work", "path"),
    [
        ("diff", "diff?from=1&to=2"),
        ("events", "events?include=execution"),
        ("read", "compare?with={id}"),
    ],
)
def test_long_read_is_cancelled_when_its_client_disconnects(
    server: Serving, running_execution: str, monkeypatch: pytest.MonkeyPatch, work: str, path: str
) -> None:
    endless = Endless()
    monkeypatch.setattr(History, work, endless)
    target = f"/api/executions/{running_execution}/{path.format(id=running_execution)}"
    head = (
        f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTHORIZED['Authorization']}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode())
        assert endless.begun.wait(30)
        assert not endless.cancelled.is_set()
    assert endless.cancelled.wait(30)


def test_long_read_over_its_budget_is_refused_with_advice(
    api: httpx.Client, server: Serving, running_execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def spent(*_: Any) -> Any:
        raise TooExpensive.field("to", "ask for a shorter range")

    path = f"/executions/{running_execution}/diff?from=1&to=3"
    ok(api.get(path))
    monkeypatch.setattr(server.system.history, "diff", spent)
    problem = refused(api.get(path), 422, "too-expensive")
    assert problem["errors"] == [{"path": "to", "message": "ask for a shorter range"}]
