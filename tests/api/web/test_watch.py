"""The streams of readiness and of projections; heartbeats, shutdown and slow clients of streams with sse-starlette."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from time import sleep
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from api.routes import health
from api.web.streams import event_source
from domain import registry
from domain.errors import Overloaded
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.store import Store
from projections.engine import rebuild as rebuilding
from projections.engine.rebuild import rebuild
from projections.registry import all_projections
from tests.support.api_client import Executions, ok, refused
from tests.support.running_server import MASTER_KEY, TOKEN, Serving, serving
from tests.support.sse_client import Frame, frames, opened
from tests.support.waiting import wait_until

WATCHED = {"Accept": "text/event-stream"}
BROWSER = {**WATCHED, "User-Agent": "Mozilla/5.0"}


def test_projections_are_shown_with_position_lag_and_parked(
    api: httpx.Client, executions: Executions
) -> None:
    position = executions.create()["position"]
    api.get("/executions", params={"minPosition": position})
    shown = ok(api.get("/projections"))
    assert shown["position"] >= position
    assert {each["view"] for each in shown["data"]} == {
        "executions",
        "analytics",
        "catalog",
        "logs",
        "timers",
        "deliveries",
        "claims",
    }
    for each in shown["data"]:
        assert set(each) == {"view", "position", "lag", "parked"}
        assert each["lag"] == shown["position"] - each["position"]


@pytest.mark.parametrize("path", ["/readyz", "/projections"])
def test_head_of_a_stream_ends_and_leaves_the_connection_free(
    server: Serving, api: httpx.Client, path: str
) -> None:
    answer = api.head(path, headers=WATCHED, timeout=5)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    ok(api.get("/healthz", timeout=5))
    wait_until(lambda: server.limits.open <= 1)


def test_projections_need_the_right_to_operate(server: Serving) -> None:
    refused(httpx.get(f"{server.url}/api/projections"), 401, "unauthenticated")


def test_projections_are_sent_again_when_they_change(
    api: httpx.Client, executions: Executions
) -> None:
    with opened(api, "/projections") as source:
        stream = frames(source)
        first = next(stream)
        assert (first.type, first.id) == ("projections", "")
        position = executions.create()["position"]
        wait_for_frame(stream, lambda received: received["position"] >= position)


def wait_for_frame(stream: Iterator[Frame], wanted: Any) -> dict[str, Any]:
    for frame in stream:
        if wanted(frame.data):
            return frame.data
    raise AssertionError("the stream has ended")


@pytest.fixture
def halting(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """An event: a rebuild waits for it after its first catch-up."""
    go_on = threading.Event()
    catch_up = rebuilding._catch_up

    async def slowly(*given: Any) -> None:
        if not go_on.is_set():
            await catch_up(*given)
        await asyncio.to_thread(go_on.wait, 30)
        await catch_up(*given)

    monkeypatch.setattr(rebuilding, "_catch_up", slowly)
    yield go_on
    go_on.set()


def test_rebuild_progress_is_streamed_to_watchers_of_projections(
    api: httpx.Client, server: Serving, executions: Executions, halting: threading.Event
) -> None:
    executions.create()

    async def work() -> None:
        views = {view.name: view for view in all_projections(registry.codec())}
        keyring = Keyring(Vault(MASTER_KEY))
        store = Store(server.conninfo, "executions", registry.codec(), keyring)
        await store.open()
        try:
            await rebuild(server.conninfo, "executions", views["executions"], store)
        finally:
            await store.close()

    rebuilder = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
    with opened(api, "/projections") as source:
        stream = frames(source)
        next(stream)
        rebuilder.start()
        received = wait_for_frame(
            stream, lambda received: of(received).get("rebuild", {}).get("progress")
        )
        head = received["position"]
        assert of(received)["rebuild"] == {"position": head, "progress": 100}
        assert all(
            "rebuild" not in each for each in received["data"] if each["view"] != "executions"
        )
        halting.set()
        wait_for_frame(stream, lambda received: "rebuild" not in of(received))
    rebuilder.join(30)


def of(received: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in received["data"] if each["view"] == "executions")
    return found


def test_parallel_rebuild_progress_is_computed_from_its_shares(
    api: httpx.Client, server: Serving, executions: Executions
) -> None:
    executions.create()
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA executions_rebuild_catalog")
        connection.execute(
            "CREATE TABLE executions_rebuild_catalog.bookmarks (view text, position bigint)"
        )
        connection.execute(
            """INSERT INTO executions_rebuild_catalog.bookmarks
            VALUES ('catalog', 0), ('catalog/0', 2), ('catalog/1', 4)"""
        )
        left = {each["view"]: each for each in ok(api.get("/projections"))["data"]}
        assert "rebuild" not in left["catalog"], "what an interrupted one left behind is none"
        connection.execute(rebuilding.OWN, ("rebuilds of executions", "catalog"))
        shown = ok(api.get("/projections"))
        connection.execute(sql.SQL("DROP SCHEMA executions_rebuild_catalog CASCADE"))
    [catalog] = [each for each in shown["data"] if each["view"] == "catalog"]
    assert catalog["rebuild"]["position"] == 3
    assert catalog["rebuild"]["progress"] == round(300 / shown["position"], 1)


def raise_overloaded(_: int) -> None:
    raise Overloaded


def test_readiness_is_sent_again_when_it_changes(
    api: httpx.Client, server: Serving, executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(api, "/readyz") as source:
        stream = frames(source)
        first = next(stream)
        assert (first.type, first.id, first.data["status"]) == ("readiness", "", "ready")
        with monkeypatch.context() as full:
            full.setattr(server.system.bus, "require_room", raise_overloaded)
            received = wait_for_frame(stream, lambda received: received["status"] == "unavailable")
            assert received["detail"]
        wait_for_frame(stream, lambda received: received["status"] == "ready")


def test_readiness_watchers_beyond_their_limit_are_refused(
    api: httpx.Client, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: server.system.hub.open == 0)
    monkeypatch.setattr(health, "MOST_WATCHERS", 1)
    with opened(api, "/readyz"):
        answer = api.get("/readyz", headers=WATCHED)
        refused(answer, 503, "overloaded")
        browser = api.get("/readyz", headers=BROWSER)
        assert (browser.status_code, browser.text[:6]) == (200, "retry:")
        with opened(api, "/projections"):
            pass


def test_streams_of_both_kinds_count_under_one_limit(
    api: httpx.Client, server: Serving, running_execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: server.system.hub.open == 0)
    monkeypatch.setattr(server.system.hub, "limit", 1)
    with opened(api, "/projections"):
        assert server.system.hub.open == 1
        for path in ("/events", f"/executions/{running_execution}/logs", "/readyz"):
            refused(api.get(path, headers=WATCHED), 503, "overloaded")
    wait_until(lambda: server.system.hub.open == 0)


def test_head_request_opens_no_stream(api: httpx.Client, server: Serving) -> None:
    answer = api.head("/projections", headers=WATCHED)
    assert answer.headers["content-type"].startswith("text/event-stream")
    wait_until(lambda: server.system.hub.open == 0)


def test_heartbeat_is_a_comment_without_a_blank_line(
    api: httpx.Client, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_source, "HEARTBEAT", 0.05)
    with api.stream("GET", "/projections", headers=WATCHED) as response:
        said = ""
        for text in response.iter_text():
            said += text
            if said.count(": heartbeat") > 1:
                break
    assert ": heartbeat\n: heartbeat\n" in said


def test_streams_end_with_closing_when_the_server_stops(
    database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        serving(database) as ending,
        ending.client() as client,
        opened(client, "/projections") as one,
        opened(client, "/readyz") as other,
    ):
        streams = frames(one), frames(other)
        for stream in streams:
            next(stream)
        ending.ask_to_stop()
        for stream in streams:
            *_, last = stream  # fails if the body is incomplete
            assert last.type == "closing"
            assert last.id == ""
            assert last.retry is not None
            assert 500 <= last.retry <= 5000
    assert "rror" not in capfd.readouterr().err


def request(server: Serving, path: str) -> socket.socket:
    """Send a request from a client with a small receive buffer, which reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", server.port))
    head = f"GET /api{path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
    client.sendall(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
    return client


def test_client_that_does_not_read_is_cut_and_logged(
    database: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(event_source, "UNREAD_TIMEOUT", 0.3)
    monkeypatch.setattr(health.HealthHandlers, "_projections", count_up)
    monkeypatch.setattr("api.web.streams.watch.POLL", 0)
    with serving(database) as server:
        hub = server.system.hub
        with request(server, "/projections"):
            wait_until(lambda: hub.open == 1)
            wait_until(lambda: hub.open == 0)
    said = capfd.readouterr()
    assert "slow stream cut" in said.out + said.err
    assert not re.search("Traceback|ASGI callable|Exception in", said.out + said.err)


async def count_up(_: object) -> dict[str, Any]:
    count_up.count += 1  # type: ignore[attr-defined]  # a function that counts
    return {"count": count_up.count, "more": "x" * 100_000}  # type: ignore[attr-defined]  # the same


count_up.count = 0  # type: ignore[attr-defined]  # the same


def test_client_that_does_not_read_does_not_delay_the_shutdown(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health.HealthHandlers, "_projections", count_up)
    monkeypatch.setattr("api.web.streams.watch.POLL", 0)
    monkeypatch.setattr("api.streaming.hub.CLOSING_TIMEOUT", 0.5)
    with serving(database) as server:
        client = request(server, "/projections")
        wait_until(lambda: server.system.hub.open == 1)
        sleep(0.5)
        server.ask_to_stop()
        wait_until(lambda: server.system.hub.open == 0)
        client.close()
