"""The server answers every fuzzed request, and never with an internal error."""

from __future__ import annotations

import json
import socket
from contextlib import closing

import pytest

from api.telemetry.metrics import REFUSALS
from tests.support.fuzzing import Answer, Fuzzer, exchange
from tests.support.running_server import Serving, serving

UNAVAILABLE = (503, 504)
"""Answers that are possible although nothing is wrong with the request."""


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_requests_are_never_answered_with_an_internal_error(
    database: str, seed: int, thorough: bool
) -> None:
    with serving(database) as server:
        fuzzer = Fuzzer(seed, make_entries(server))
        wire, failed = connect(server), REFUSALS.labels("internal")._value.get()
        for number in range(25_000 if thorough else 500):
            request = fuzzer.handshake() if number % 10 == 0 else fuzzer.request()
            try:
                answer = exchange(wire, request)
            except ConnectionError:
                answer = None
            if answer is not None:
                check(request, answer)
            if answer is not None and answer.status == 101:
                play(wire, fuzzer)
            if (
                answer is None
                or answer.status == 101
                or answer.headers.get("connection") == "close"
            ):
                wire.close()
                wire = connect(server)
        wire.close()
        assert REFUSALS.labels("internal")._value.get() == failed
        with server.client() as api:
            assert api.get("/executions").status_code == 200


def make_entries(server: Serving) -> dict[str, list[str]]:
    """The ids of existing entries, by their kind."""
    ids = {"users": ["acme", "outreach"], "services": ["sdr-service"], "orders": ["order-123"]}
    executions = [f"run-{number}" for number in range(20)]
    with server.client() as api:
        for user in ids["users"]:
            api.post("/users", json={"$id": user, "name": user, "kind": "organization"})
        api.post("/services", json={"$id": "sdr-service", "name": "s", "provider": "outreach"})
        api.post("/orders", json={"$id": "order-123", "service": "sdr-service", "customer": "acme"})
        for name in executions:
            body = {
                "$id": name,
                "order": "order-123",
                "service": "sdr-service",
                "status": "running",
            }
            assert api.post("/executions", json=body).status_code == 201
    return {**ids, "workflows": ["outreach"], "executions": executions}


def connect(server: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def check(request: bytes, answer: Answer) -> None:
    shown = request[:2_000]
    assert answer.status < 500 or answer.status in UNAVAILABLE, (shown, answer)
    if answer.status >= 400 and answer.body:
        problem = json.loads(answer.body)
        assert problem["status"] == answer.status, shown
        assert problem["detail"], shown
    if answer.status in (429, 503):
        assert answer.headers["retry-after"], shown
    if answer.status == 200 and answer.body:
        assert b'"status":500' not in answer.body, (shown, answer.body[:2_000])


def play(wire: socket.socket, fuzzer: Fuzzer) -> None:
    """Send frames, and read answers until there are enough of them, or the end."""
    with closing(wire):
        try:
            for frame in fuzzer.frames():
                wire.sendall(frame)
            wire.settimeout(0.05)
            while wire.recv(65_536):
                pass
        except OSError:  # no more frames come, or the server has closed
            pass
