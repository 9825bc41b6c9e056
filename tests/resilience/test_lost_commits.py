"""A log that loses its newest events under a running server, as after a failover: the server notices and reports it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from domain.eventlog.setup.log_id import log_id
from tests.support.api_client import ok, refused
from tests.support.databases import earlier_state
from tests.support.service_process import Service, serving
from tests.support.sse_client import Frame, frames, opened
from tests.support.stream_consumers import client, socket

BACK = 30
SSE = {"Accept": "text/event-stream"}


@pytest.fixture
def service(database: str) -> Iterator[Service]:
    with serving(database) as service:
        yield service


def write_users(service: Service, *ids: str) -> int:
    """Write users with these ids; the position of the last event."""
    with client(service.url) as api:
        for identity in ids:
            body = {"$id": identity, "name": "Ann", "kind": "person"}
            received = ok(api.post("/users", json=body))
    return int(received["position"])


def until(position: int, read: Iterator[Frame]) -> None:
    for frame in read:
        if frame.is_event and frame.data["position"] == position:
            return


def close_code(stream: ClientConnection) -> int | None:
    """The code with which the server closes a WebSocket, our own frames left out."""
    try:
        while True:
            stream.recv(timeout=30)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def log_of(service: Service, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith(event)]


def test_lost_commits_end_every_stream_and_give_the_log_another_id(
    database: str, admin: psycopg.Connection, service: Service
) -> None:
    name = str(conninfo_to_dict(database)["dbname"])
    before = log_id(database, "executions")
    kept = write_users(service, "kept-1", "kept-2")
    with earlier_state(admin, name) as fail_over:
        service.wait_until_ready(BACK)
        with (
            client(service.url) as api,
            opened(api) as source,
            socket(service, "/events") as stream,
        ):
            lost = write_users(service, "lost-1", "lost-2", "lost-3")
            read = frames(source)
            until(lost, read)
            fail_over()
            [closing] = [frame for frame in read if frame.type == "closing"]
            assert closing.data["reason"] == "other-log"
            assert close_code(stream) == 1011
        service.wait_until_ready(BACK)
        assert_another_log(service, database, before, lost, kept)


def test_signal_during_the_restart_for_another_log_ends_the_server(
    database: str, admin: psycopg.Connection, service: Service
) -> None:
    write_users(service, "kept")
    with earlier_state(admin, str(conninfo_to_dict(database)["dbname"])) as fail_over:
        service.wait_until_ready(BACK)
        with client(service.url) as api, opened(api) as source:
            last = write_users(service, "lost")
            read = frames(source)
            until(last, read)
            fail_over()
            assert any(frame.type == "closing" for frame in read)
            assert service.terminate() == 0


def assert_another_log(service: Service, database: str, before: str, lost: int, kept: int) -> None:
    """It is served under its new id, and the server reports that it went back."""
    now = log_id(database, "executions")
    assert now != before
    with client(service.url) as api:
        received = refused(
            api.get("/events", params={"log": before}, headers=SSE), 410, "other-log"
        )
        assert received["log"] == now
        assert ok(api.get("/readyz"))["wentBack"] == {"from": lost, "to": kept}
        assert "executions_log_went_back_total 1.0" in api.get("/metrics").text
        refused(api.get("/users/lost-1"), 404, "not-found")
        position = write_users(service, "next")
        assert position == kept + 1
        patient = {"Prefer": "wait=30"}  # the work process restarts, too
        listed = api.get("/users", params={"minPosition": position, "log": now}, headers=patient)
        assert listed.headers["log-id"] == now
        assert {entry["$id"] for entry in ok(listed)["data"]} == {"kept-1", "kept-2", "next"}
    assert len(log_of(service, "the log went back")) == 1
    assert service.verify().returncode == 0, service.log()
