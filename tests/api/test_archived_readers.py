"""WebSockets, a relay with its edge, and a standby read archived events as before they were archived."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.eventlog.archive import reader
from domain.eventlog.connection import standby as standby_module
from domain.eventlog.connection.standby_store import StandbyCondition, StandbyStore
from tests.api.fan_out.test_edge import raw
from tests.support.api_client import ok
from tests.support.archived_log import WAITS, archive, fill, settle
from tests.support.databases import reachable_folder
from tests.support.fan_out import fanning_out, nats_program
from tests.support.object_store import ObjectStore, S3Store
from tests.support.running_server import data_dir, serving
from tests.support.service_process import Service
from tests.support.standby import ask, pair
from tests.support.stream_consumers import OURS, Door, client, socket
from tests.support.waiting import wait_until

STATES = {"include": "execution"}
STREAMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/events", {}),
    ("/events", {"types": "execution.step.*"}),
    ("/executions/watch", STATES),
    ("/executions/e-0/events", {}),
    ("/executions/e-2/watch", STATES),
    (f"/executions/{WAITS}/watch", STATES),
)
PAST = (
    "/executions/e-0?version=3",
    "/executions/e-0/events?limit=500",
    "/executions/e-1/events?order=desc",
    "/executions/e-0/diff?from=1&to=6",
    "/executions/e-2?version=2",
    f"/executions/{WAITS}?version=2",
)


@pytest.fixture
def folder(database: str, tmp_path: Path) -> Path:
    data_dir(database, tmp_path)
    return tmp_path


def over_sockets(door: Door, head: int) -> list[list[str]]:
    """The past frames of each stream, up to a position, over a WebSocket."""
    return [list(over_a_socket(door, path, head, query)) for path, query in STREAMS]


def over_a_socket(door: Door, path: str, head: int, query: dict[str, str]) -> Iterator[str]:
    with socket(door, path, **{"from": "start", **query}) as line:
        while True:
            said = line.recv(timeout=30)
            assert isinstance(said, str)
            frame = json.loads(said)
            if frame["type"] in {"caught-up", "closing"}:
                return
            if frame["type"] not in OURS and frame["position"] <= head:
                yield said


def test_frames_of_a_websocket_are_the_same_after_archiving(database: str, folder: Path) -> None:
    with serving(database, data_dir=folder) as server, server.client() as api:
        fill(api)
        head = settle(api, database)
        before = over_sockets(server, head)
        assert all(before)
        assert sum(each.taken for each in asyncio.run(archive(database, folder))) > head // 2
    with serving(database, data_dir=folder) as server, server.client() as api:
        settle(api, database)
        assert over_sockets(server, head) == before


def test_relay_and_edge_send_events_archived_before_they_started(database: str) -> None:
    nats_program()
    with reachable_folder() as folder:
        service = Service(folder, database)
        try:
            service.start()
            with client(service.url) as api:
                fill(api)
                head = settle(api, database)
            before = [raw(service, path, 0, head, query) for path, query in STREAMS]
            assert all(before)
            reports = asyncio.run(archive(database, service.data))
            assert sum(each.taken for each in reports) > head // 2
            with fanning_out(service) as fan_out:
                sockets = over_sockets(service, head)
                for door in (fan_out.edge, service):
                    found = [raw(door, path, 0, head, query) for path, query in STREAMS]
                    assert found == before
                    assert over_sockets(door, head) == sockets
        finally:
            service.close()


def answers_of(api: httpx.Client) -> list[Any]:
    return [[(found := api.get(path)).status_code, found.json()] for path in PAST]


def test_standby_answers_archived_events(
    postgres_bin: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby_module, "EVERY", 0.05)
    with pair(postgres_bin) as servers:
        primary, standby = servers.primary.conninfo(), servers.standby.conninfo()
        with serving(primary, standby=standby, data_dir=tmp_path) as server, server.client() as api:
            fill(api)
            head = settle(api, primary)
            before = answers_of(api), over_sockets(server, head)
            assert all(before[1])
            assert sum(each.taken for each in asyncio.run(archive(primary, tmp_path))) > head // 2
            servers.wait_until_equal()
            archived = "SELECT count(*) FROM executions.event_archive_streams"
            assert ask(servers.standby, archived) == ask(servers.primary, archived) > 0
            wait_until(lambda: api.get("/readyz").json()["readsFrom"] == "standby")
            read, once = list[StandbyCondition](), StandbyStore.once

            def record_condition(store: StandbyStore, reached: StandbyCondition) -> StandbyStore:
                read.append(reached)
                return once(store, reached)

            monkeypatch.setattr(StandbyStore, "once", record_condition)
            for path, was, now in zip(PAST, before[0], answers_of(api), strict=True):
                assert (path, now) == (path, was)
            assert over_sockets(server, head) == before[1]
            assert read


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    store = S3Store()
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    reader._archive.cache_clear()
    with store.serving(), store.emptied():
        yield store
    reader._archive.cache_clear()


def test_refusing_bucket_causes_503_only_for_archived_events(
    database: str, folder: Path, bucket: ObjectStore
) -> None:
    with serving(database, data_dir=folder) as server, server.client() as api:
        fill(api)
        settle(api, database)
        before = api.get("/executions/e-0/events").json()
        asyncio.run(archive(database, folder, bucket.url))
        ok(api.post("/executions", json={"$id": "e-9", "order": "o", "service": "s"}))
    reader.BLOCK_CACHE.__init__()  # type: ignore[misc]  # as in another process
    with serving(database, data_dir=folder) as server, server.client() as api:
        with bucket.refusing():
            for _ in range(2):
                refused = api.get("/executions/e-0/events")
                assert refused.status_code == 503
                assert refused.json()["type"].endswith("/overloaded")
                assert "The archive cannot be reached" in refused.json()["detail"]
                assert "127.0.0.1" not in refused.text
                assert int(refused.headers["retry-after"]) > 0
            assert api.post(f"/executions/{WAITS}/resume").status_code == 503
            for path in ("/executions/e-9", "/executions/e-9/events", "/executions", "/readyz"):
                assert api.get(path).status_code == 200
            listed = {each["$id"]: each for each in ok(api.get("/executions"))["data"]}
            assert (listed["e-0"]["status"], listed["e-9"]["status"]) == ("completed", "queued")
            assert listed[WAITS]["unreadable"] is True  # its document is read from its events
            ok(api.post("/executions/e-9/start"))
        wait_until(lambda: api.get("/executions/e-0/events").status_code == 200)
        assert api.get("/executions/e-0/events").json() == before
