"""One stream of two logs, one of which has a server process that is killed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest

from api.access.rights import Role
from api.embedded_postgres.server import EmbeddedPostgres
from tests.support.api_client import Catalog, ok, refused
from tests.support.databases import new_database, reachable_folder
from tests.support.ports import free_port
from tests.support.running_server import Serving, serving
from tests.support.service_process import AUTHORIZED, Service
from tests.support.sse_client import Frame, frames, opened, until_caught_up

BOTH = {"cells": "north,south"}
SSE = {"Accept": "text/event-stream"}
ABOUT = {"checkpoint", "caught-up", "fell-behind", "away", "back", "closing"}


@pytest.fixture(scope="module")
def process(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, views_template: str
) -> Iterator[Service]:
    """The server of the log `south`, which the test starts."""
    with new_database(admin, template=views_template) as name, reachable_folder() as folder:
        service = Service(folder, postgres.conninfo(name), EXECUTIONS_LOG="south")
        yield service
        service.close()


@pytest.fixture(scope="module")
def ports(process: Service) -> dict[str, int]:
    return {"north": free_port(), "south": process.port, "west": free_port()}


@pytest.fixture(scope="module")
def south(process: Service) -> Iterator[httpx.Client]:
    process.start()
    with httpx.Client(base_url=f"{process.url}/api", headers=AUTHORIZED, timeout=30) as client:
        yield client


def write(*logs: httpx.Client, times: int = 1) -> None:
    """Record an event in each log, so many times."""
    for _ in range(times):
        for log in logs:
            ok(log.post("/users", json={"name": "Ann", "kind": "person"}))


class Reader:
    """Reads a stream of both logs; keeps the positions received from each, and the last cursor."""

    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = defaultdict(list)
        self.said: list[str] = []
        """The frames about the stream, without those that only move the cursor."""
        self.cursor = ""

    def until(self, stream: Iterator[Frame], enough: Callable[[], bool]) -> None:
        while not enough():
            frame = next(stream)
            self.cursor = frame.id
            if frame.type not in ABOUT:
                self.seen[frame.data["cell"]].append(frame.data["position"])
                assert frame.data["source"].startswith(f"/logs/{frame.data['cell']}/api/")
            elif frame.type != "checkpoint":
                self.said.append(frame.type)

    def has(self, **reached: int) -> Callable[[], bool]:
        return lambda: all(self.seen[name][-1:] == [place] for name, place in reached.items())


def head(log: httpx.Client) -> int:
    return int(ok(log.get("/readyz"))["position"])


def test_events_are_received_once_across_a_kill_of_a_log_and_reconnects(
    api: httpx.Client, south: httpx.Client, process: Service
) -> None:
    reader = Reader()
    write(api, south, times=4)
    with opened(api, "/cells/events", **BOTH, **{"from": "start"}) as source:
        stream = frames(source)
        reader.until(stream, reader.has(north=head(api), south=head(south)))
        reader.until(stream, lambda: reader.said == ["caught-up"])
        process.kill()
        reader.until(stream, lambda: reader.said == ["caught-up", "away"])
        write(api, times=2)
        reader.until(stream, reader.has(north=head(api)))
        process.start()
        write(south, api, times=2)
        reader.until(stream, reader.has(north=head(api), south=head(south)))
        reader.until(stream, lambda: reader.said[-1] == "caught-up")
    assert reader.said == ["caught-up", "away", "back", "caught-up"]
    write(south, api, times=2)
    with opened(api, "/cells/events", after=reader.cursor, **BOTH) as source:
        reader.until(frames(source), reader.has(north=head(api), south=head(south)))
    for name, log in (("north", api), ("south", south)):
        assert reader.seen[name] == list(range(1, head(log) + 1))


def test_stream_begins_now_with_a_position_in_each_log(
    api: httpx.Client, south: httpx.Client
) -> None:
    write(api, south)
    logs = {"north": api, "south": south}
    with opened(api, "/cells/events", **BOTH) as source:
        first, *_, last = until_caught_up(source)
    assert first.type == "checkpoint"
    assert last.data["cells"] == {
        name: {"position": head(log), "log": log_id(log)} for name, log in logs.items()
    }
    write(api, south, times=2)
    reader = Reader()
    with opened(api, "/cells/events", **BOTH, **{"from": first.id}) as source:
        reader.until(frames(source), reader.has(north=head(api), south=head(south)))
    assert {name: len(places) for name, places in reader.seen.items()} == {"north": 2, "south": 2}


def log_id(log: httpx.Client) -> str:
    return str(log.get("/readyz").headers["log-id"])


def test_log_that_is_not_in_the_cursor_begins_at_its_first_event(
    api: httpx.Client, south: httpx.Client
) -> None:
    write(api, south)
    with opened(api, "/cells/events", cells="north") as source:
        [*_, last] = until_caught_up(source)
    assert "south" not in last.id
    reader = Reader()
    with opened(api, "/cells/events", after=last.id, **BOTH) as source:
        reader.until(frames(source), reader.has(south=head(south)))
    assert reader.seen == {"south": list(range(1, head(south) + 1))}
    with opened(api, "/cells/events", after=reader.cursor, cells="north") as source:
        [kept, *_] = until_caught_up(source)
    assert kept.id == reader.cursor


def test_logs_that_are_not_in_the_map_or_do_not_answer_are_reported_as_away(
    api: httpx.Client, south: httpx.Client
) -> None:
    with opened(api, "/cells/events", after=f"east.{log_id(api)}.3") as source:
        stream = frames(source)
        away = [next(frame for frame in stream if frame.type == "away").data for _ in range(2)]
    assert [(said["cell"], said["cursor"].partition("~")[0]) for said in away] == [
        (name, f"east.{log_id(api)}.3") for name in ("east", "west")
    ]
    assert away[1]["reason"] == "it does not answer: ConnectError"


def test_filter_and_format_work_as_for_one_log(api: httpx.Client, south: httpx.Client) -> None:
    write(api, south)
    query = {**BOTH, "from": "start", "format": "watch", "types": "completed"}
    with opened(api, "/cells/events", **query) as source:
        assert not [frame for frame in until_caught_up(source) if frame.type not in ABOUT]
    query = {**BOTH, "from": "2026-01-01T00:00:00Z", "types": "user.created"}
    with opened(api, "/cells/events", **query) as source:
        read = until_caught_up(source)
    assert {frame.data["cell"] for frame in read if frame.type == "user.created"} == set(
        BOTH["cells"].split(",")
    )


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"cells": "north,east"}, "cells"),
        ({"speed": "2"}, "speed"),
        ({"log": "x"}, "log"),
        ({"colour": "red"}, "colour"),
        ({"types": "nonsense"}, "types"),
        ({"format": "xml"}, "format"),
        ({"include": "all"}, "include"),
    ],
)
def test_parameter_that_is_not_possible_for_all_logs_is_refused(
    api: httpx.Client, query: dict[str, str], path: str
) -> None:
    answer = api.get("/cells/events", params={**BOTH, **query}, headers=SSE)
    assert refused(answer, 422, "invalid")["errors"][0]["path"] == path


def test_invalid_cursor_is_refused_with_the_name_of_its_parameter(
    api: httpx.Client, south: httpx.Client
) -> None:
    for wanted in ("12", "x", "2026-13-01T00:00:00Z", ""):
        answer = api.get("/cells/events", params={**BOTH, "from": wanted}, headers=SSE)
        assert answer.status_code in (400, 422)
        assert "`from`" in answer.json()["detail"]
    answer = api.get("/cells/events", params=BOTH, headers={**SSE, "Last-Event-ID": "12"})
    assert "`Last-Event-ID`" in refused(answer, 400, "malformed")["detail"]
    future = f"south.{log_id(south)}.999999"
    answer = api.get("/cells/events", params={**BOTH, "from": future}, headers=SSE)
    assert refused(answer, 400, "malformed")["cell"] == "south"


def test_cursor_of_another_log_is_refused_with_the_id_of_the_present_log(
    api: httpx.Client, south: httpx.Client
) -> None:
    other = f"north.{log_id(api)}.1~south.0189ab12-0000-4000-8000-000000000000.1"
    answer = api.get("/cells/events", params={**BOTH, "from": other}, headers=SSE)
    problem = refused(answer, 410, "other-log")
    assert (problem["cell"], problem["log"]) == ("south", log_id(south))


def test_stream_needs_its_accept_header(api: httpx.Client, south: httpx.Client) -> None:
    answer = api.get("/cells/events", params=BOTH, headers={"Accept": "application/json"})
    refused(answer, 406, "not-acceptable")
    answer = api.head("/cells/events", params=BOTH, headers=SSE)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (
        200,
        "text/event-stream",
    )


def test_rights_of_the_caller_are_decided_by_each_log(
    api: httpx.Client, server: Serving, catalog: Catalog
) -> None:
    asked = f"{server.url}/api/cells/events"
    for role, status, code in ((Role.OPERATOR, 403, "forbidden"), (Role.CUSTOMER, 200, "")):
        party = {"party": catalog.customer} if role is Role.CUSTOMER else {}
        key = ok(api.post("/keys", json={"role": role, **party}))["key"]
        headers = {**SSE, "Authorization": f"Bearer {key}"}
        refused(httpx.get(asked, params=BOTH, headers=headers), 422, "invalid")
        with httpx.stream("GET", asked, params={"cells": "north"}, headers=headers) as answer:
            assert answer.status_code == status
            if code:
                answer.read()
                assert refused(answer, status, code)["cell"] == "north"


def test_stream_is_counted_and_gets_closing_when_the_server_stops(database: str) -> None:
    port = free_port()
    with (
        serving(database, port, cells=f"here=http://127.0.0.1:{port}") as ending,
        ending.client() as client,
        opened(client, "/cells/events") as source,
    ):
        stream = frames(source)
        next(frame for frame in stream if frame.type == "caught-up")
        assert ending.system.hub.open == 2  # the server requests its own log like any other
        ending.ask_to_stop()
        *_, last = stream  # fails if the body is incomplete
    assert (last.type, last.data) == ("closing", {"retry": last.retry})


def test_streams_beyond_the_limit_are_refused(
    api: httpx.Client, south: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.cells.events.MOST_STREAMS", 0)
    answer = api.get("/cells/events", params=BOTH, headers=SSE)
    assert refused(answer, 503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert api.get("/cells/events", headers={**SSE, "User-Agent": "Mozilla/5.0"}).text.startswith(
        "retry: "
    )
