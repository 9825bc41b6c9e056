"""Several logs at once: lists, analytics, and a stream that resumes in each log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.embedded_postgres.server import EmbeddedPostgres
from service_executions import AsyncClient, CellAway, Client, FileCursor, Place
from service_executions._sync import streams
from service_executions.errors import Malformed
from tests.sdk.test_streams import visit
from tests.support.databases import new_database
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.running_server import TOKEN, Serving, serving
from tests.support.scripted_service import DOCUMENT, ScriptedService, answered, problem

RUNS = 3
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
GUIDE = (ROOT / "docs" / "cells.md").read_text()


@pytest.fixture(scope="module")
def both(
    postgres: EmbeddedPostgres, admin: psycopg.Connection
) -> Iterator[tuple[Serving, Serving]]:
    """The servers of the north, which knows both logs, and of the south."""
    ports = {name: free_port() for name in ("north", "south")}
    cells = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in ports.items())
    with new_database(admin) as one, new_database(admin) as other:
        at = postgres.conninfo
        north = serving(at(one), ports["north"], log_name="north", cells=cells)
        with north as here, serving(at(other), ports["south"], log_name="south") as there:
            fill(here)
            fill(there)
            yield here, there


def fill(server: Serving) -> None:
    """Executions, and waits until the list has them."""
    with Client(server.url, TOKEN) as client:
        client.users.create("acme", name="Acme", kind="organization")
        client.services.create("sdr", name="Leads", provider="acme")
        client.orders.create("o", service="sdr", customer="acme")
        for _ in range(RUNS):
            client.executions.create(order="o", service="sdr", priority="high")
        assert client.executions.list().count() == RUNS
        assert client.analytics.executions().total == RUNS


@pytest.fixture(scope="module")
def client(both: tuple[Serving, Serving]) -> Iterator[Client]:
    with Client(both[0].url, TOKEN) as made:
        yield made


def test_list_of_several_logs_is_read_page_by_page(client: Client) -> None:
    found = client.cells.executions(limit=2, sort="$id", priority="high").all()
    assert [run.cell for run in found] == ["north"] * RUNS + ["south"] * RUNS
    assert [run.id for run in found] == sorted(run.id for run in found)
    assert client.cells.executions(cells=["south"]).count() == RUNS


def test_list_of_several_logs_accepts_operators(client: Client) -> None:
    def count(*statuses: str) -> int:
        return len(client.cells.executions({"status": {"$in": statuses}}).all())

    assert (count("queued", "failed"), count("failed")) == (2 * RUNS, 0)


def test_analytics_of_several_logs_are_those_of_all(client: Client) -> None:
    found = client.cells.analytics(by="service")
    assert (found.total, found.groups[0].total, found.missing) == (2 * RUNS, 2 * RUNS, [])
    assert found.cells["south"]["position"] == RUNS + 3


async def test_events_of_several_logs_arrive_as_they_are_recorded(
    both: tuple[Serving, Serving],
) -> None:
    seen: dict[str, list[int]] = {"north": [], "south": []}
    async with AsyncClient(both[0].url, TOKEN) as client:
        async with client.cells.events(start="start") as stream:
            async for event in stream:
                seen[event.cell].append(event.position)
                if sum(map(len, seen.values())) == 2 * (RUNS + 3):
                    break
        async with client.cells.watch(start="start", cells="south") as frames:
            frame = await anext(frames)
    assert seen == {name: list(range(1, RUNS + 4)) for name in ("north", "south")}
    assert (frame.cell, frame.type, frame.status) == ("south", "status_changed", "queued")


def test_examples_of_the_guide_run(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EXECUTIONS_URL", client.url)
    monkeypatch.setenv("EXECUTIONS_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    printed = []
    for code in BLOCK.findall(GUIDE):
        names: dict[str, Any] = {}
        exec(compile(code, "cells.md", "exec"), names)  # noqa: S102 - our own examples
        names["client"].close()
        printed.append(capsys.readouterr().out.splitlines())
    [listed, followed] = printed
    assert [line.split()[0] for line in listed[:-1]] == ["south"] * RUNS + ["north"] * RUNS
    assert listed[-1] == str(2 * RUNS)
    assert followed[0].split()[1:] == ["1", "user.created"]


# --- without a service


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "sleep", lambda _: None)


def frame(cell: str, position: int, cursor: str = "", kind: str = "progress") -> str:
    more = {} if cursor else {"more": True}
    data = {"cell": cell, "type": kind, "execution": "run-1", "position": position, **more}
    return (f"id: {cursor}\n" if cursor else "") + f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def about(kind: str, cursor: str, **more: Any) -> str:
    return f"id: {cursor}\nevent: {kind}\ndata: {json.dumps({'cursor': cursor, **more})}\n\n"


def event(cell: str, position: int, cursor: str) -> str:
    data = {
        "cell": cell,
        "id": str(position),
        "type": "user.created",
        "source": f"/logs/{cell}/api/users/u",
        "subject": "u",
        "time": "2026-11-22T08:00:00.000Z",
        "position": position,
        "version": 1,
        "data": {},
    }
    return f"id: {cursor}\nevent: user.created\ndata: {json.dumps(data)}\n\n"


@pytest.mark.usefixtures("no_waiting")
def test_stream_of_several_logs_reconnects_with_its_last_cursor() -> None:
    headers: dict[str, Any] = {"log_id": "of-one-log", "log_position": "77"}
    service = ScriptedService(
        visit(about("checkpoint", "n.a.0~s.b.4"), cut=True, **headers),
        visit(event("s", 5, "n.a.0~s.b.5"), event("n", 1, "n.a.1~s.b.5"), cut=True, **headers),
        visit(event("s", 6, "n.a.1~s.b.6"), **headers),
    )
    stream = service.client().cells.events(cells=["n", "s"])
    assert [(each.cell, each.position) for each in (next(stream), next(stream), next(stream))] == [
        ("s", 5),
        ("n", 1),
        ("s", 6),
    ]
    assert service.sent("last-event-id") == [None, "n.a.0~s.b.4", "n.a.1~s.b.5"]
    assert [dict(request.url.params) for request in service.requests] == [
        {"cells": "n,s", "from": "now"},
        {"cells": "n,s"},
        {"cells": "n,s"},
    ]


@pytest.mark.usefixtures("no_waiting")
def test_event_of_several_frames_is_completed_although_another_log_comes_first() -> None:
    first, last = frame("n", 5), frame("n", 5, "n.a.5~s.b.2", "completed")
    service = ScriptedService(
        visit(frame("n", 4, "n.a.4~s.b.1"), first, cut=True),
        visit(about("checkpoint", "n.a.4~s.b.1"), frame("s", 2, "n.a.4~s.b.2"), first, last),
    )
    stream = service.client().cells.watch()
    seen = [next(stream) for _ in range(4)]
    assert [(each.cell, each.position, each.type) for each in seen] == [
        ("n", 4, "progress"),
        ("n", 5, "progress"),
        ("s", 2, "progress"),
        ("n", 5, "completed"),
    ]


@pytest.mark.usefixtures("no_waiting")
def test_stream_names_the_unreachable_logs() -> None:
    cursor = "n.a.1~s.b.1"
    cells = {"n": {"position": 1, "log": "a"}}
    service = ScriptedService(
        visit(
            about("caught-up", cursor, cells=cells),
            about("away", cursor, cell="s", reason="it answers 503"),
            event("n", 2, "n.a.2~s.b.1"),
            about("back", "n.a.2~s.b.1", cell="s"),
            event("s", 2, "n.a.2~s.b.2"),
            about("away", "n.a.2~s.b.2", cell="n", reason="it answers 503"),
            cut=True,
        ),
        visit(event("n", 3, "n.a.3~s.b.2")),
    )
    stream = service.client().cells.events()
    read = [(next(stream).cell, set(stream.away), stream.caught_up) for _ in range(3)]
    assert read == [("n", {"s"}, False), ("s", set(), False), ("n", set(), False)]


@pytest.mark.usefixtures("no_waiting")
def test_cursor_of_several_logs_is_stored_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "place.json"
    service = ScriptedService(visit(event("n", 1, "n.a.1"), event("n", 2, "n.a.2")))
    with service.client().cells.events(start="start", cursor=str(file)) as stream:
        next(stream)
        next(stream)
    assert FileCursor(file).load() == Place(0, None, "n.a.1")
    again = ScriptedService(visit(event("n", 2, "n.a.2")))
    next(again.client().cells.events(start="start", cursor=FileCursor(file)))
    assert again.sent("last-event-id") == ["n.a.1"]
    refusing = ScriptedService(problem(400, "malformed"))
    with pytest.raises(Malformed):
        next(refusing.client().listen(cursor=FileCursor(file)))


def test_unreachable_log_raises_or_is_listed_as_missing() -> None:
    missing = [{"cell": "s", "reason": "it answers 503"}]
    page = {"data": [{**DOCUMENT, "cell": "n"}], "hasMore": False, "nextCursor": "c", "cells": {}}
    service = ScriptedService(
        problem(503, "cell-away", cell="s"), answered({**page, "missing": missing})
    )
    client = service.client(max_retries=0)
    with pytest.raises(CellAway) as refused:
        client.cells.executions().page()
    assert refused.value.problem["cell"] == "s"
    found = client.cells.executions(partial=True).page()
    assert ([run.cell for run in found.data], found.missing) == (["n"], missing)
    assert dict(service.requests[-1].url.params) == {"partial": "true"}
