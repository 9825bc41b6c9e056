"""Reads from a standby are correct if it lags, if it shows commits before they are acknowledged, and if it is unavailable."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from structlog.testing import capture_logs

from api.streaming.log.loader import Loader
from api.streaming.log.stored_log import StoredLog
from api.system import System
from domain.errors import Overloaded
from domain.eventlog.connection import standby as standby_module
from domain.eventlog.connection.log_head import LastSeen
from domain.eventlog.states import LoadedState
from domain.eventlog.store import Store
from projections.history.time_travel import EventPage, History
from projections.preparation import migrate
from tests.support.api_client import RESULT, Executions, ok
from tests.support.running_server import Serving, serving
from tests.support.standby import Pair, ask, new_standby, pair
from tests.support.waiting import wait_until

WORD = "Sesame"
HEAD = "SELECT position FROM executions.head"


@pytest.fixture(scope="module")
def servers(postgres_bin: Path | None) -> Iterator[Pair]:
    with pair(postgres_bin) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def check_often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standby_module, "EVERY", 0.05)
        yield


@pytest.fixture(scope="module")
def server(servers: Pair) -> Iterator[Serving]:
    primary, standby = servers.primary.conninfo(), servers.standby.conninfo()
    with serving(primary, standby=standby) as running:
        yield running


@pytest.fixture
def any_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from a standby however far it lags."""
    monkeypatch.setattr(standby_module, "MOST_LAG", inf)


@pytest.fixture
def completed(api: httpx.Client, executions: Executions) -> tuple[str, int]:
    """A completed execution with sealed content, shown by lists, while reads go to the standby; with its version."""
    id_ = executions.running()
    done = executions.tell(id_, "complete", **{**RESULT, "summary": WORD})
    for path in ("/executions", "/analytics/executions"):
        ok(api.get(path, params={"minPosition": done["position"]}))
    wait_until(lambda: reads_from(api) == "standby")
    return id_, done["version"]


def reads_from(api: httpx.Client) -> str:
    return str(ok(api.get("/readyz"))["readsFrom"])


def ids(listed: httpx.Response) -> set[str]:
    return {item["$id"] for item in ok(listed)["data"]}


@pytest.mark.usefixtures("any_lag", "completed")
def test_min_position_and_history_show_what_a_standby_lacks(
    api: httpx.Client, executions: Executions, servers: Pair
) -> None:
    with servers.paused():
        made = executions.create()
        id_, position = made["$id"], made["position"]
        assert id_ in ids(api.get("/executions", params={"minPosition": position}))
        figures = ok(api.get("/analytics/executions", params={"minPosition": position}))
        history = ok(api.get(f"/executions/{id_}/events"))["data"]
        assert [event["position"] for event in history] == [position]
        assert ok(api.get(f"/executions/{id_}", params={"version": 1}))["$id"] == id_
        stale = api.get("/executions")  # the standby answers here
        assert id_ not in ids(stale)
        assert int(stale.headers["log-position"]) < position
        assert ok(api.get("/analytics/executions"))["total"] == figures["total"] - 1
    for _ in range(10):
        made = executions.create()
        assert made["$id"] in ids(api.get("/executions", params={"minPosition": made["position"]}))


@pytest.mark.usefixtures("any_lag")
def test_content_that_was_erased_on_the_primary_is_not_shown_by_the_standby(
    api: httpx.Client, executions: Executions, servers: Pair, completed: tuple[str, int]
) -> None:
    id_, version = completed
    listed_alone, past = f"/executions?%24id={id_}", f"/executions/{id_}?version={version}"
    paths = past, listed_alone, f"/executions/{id_}/events"
    primary, standby = servers.primary.conninfo(), servers.standby.conninfo()
    with servers.paused(), ExitStack() as stack:
        for path in paths:
            assert WORD in api.get(path).text
        erased = executions.tell(id_, "erase", reason="Jane asked for it")
        started_since = stack.enter_context(serving(primary, standby=standby))
        fresh = stack.enter_context(started_since.client())
        wait_until(lambda: reads_from(fresh) == "standby")
        for client in (api, fresh):
            for path in paths:
                assert WORD not in client.get(path).text
            listed = client.get(listed_alone)
            assert ids(listed) == {id_}
            assert int(listed.headers["log-position"]) < erased["position"]


@pytest.mark.usefixtures("any_lag", "completed")
def test_standby_whose_event_at_a_position_differs_from_the_one_seen_is_not_read_from(
    server: Serving, api: httpx.Client, servers: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a standby with events that a failover lost, before the next periodic check of it."""

    async def finds_nothing() -> None:
        return None

    standby = server.system.sources.standby
    assert standby is not None
    monkeypatch.setattr(standby, "find_reason", finds_nothing)
    user = {"$id": "since-then", "name": "Ann", "kind": "person"}
    with servers.paused():
        position = ok(api.post("/users", json=user))["position"]
        ok(api.get("/executions", params={"minPosition": position}))
        behind = int(api.get("/executions").headers["log-position"])
        assert behind < position
        # Only of the standby: the server itself would end, as the log lacks this event.
        other = LastSeen()
        other.note(behind, datetime.fromtimestamp(0, UTC))
        monkeypatch.setattr(standby.store, "primary", SimpleNamespace(seen=other))
        assert int(api.get("/executions").headers["log-position"]) >= position
        assert reads_from(api) == "standby"


@pytest.mark.usefixtures("completed")
def test_event_that_the_primary_has_not_acknowledged_is_not_shown(
    server: Serving, executions: Executions, servers: Pair
) -> None:
    made = executions.create()
    id_, version = made["$id"], made["version"]
    servers.wait_until_equal()
    head = ask(servers.primary, HEAD)
    with ThreadPoolExecutor(1) as pool, ExitStack() as waiting:
        waiting.enter_context(servers.commits_waiting())
        command = pool.submit(executions.tell, id_, "start")
        wait_until(lambda: ask(servers.standby, HEAD) > head)
        page, past = server.run(read_through_sources(server.system, id_, version + 1))
        bookmark = ask(servers.standby, "SELECT max(position) FROM executions.bookmarks")
        assert ask(servers.primary, HEAD) == head, "it was acknowledged before it was read"
        assert (len(page.envelopes), page.next_cursor, past) == (version, None, None)
        assert bookmark <= head
        waiting.close()
        assert command.result(60)["status"] == "running"


async def read_through_sources(
    system: System, execution: str, version: int
) -> tuple[EventPage, LoadedState | None]:
    """The history of an execution, and its state after a version."""
    stream = f"execution/{execution}"
    head, _ = await system.store.head()

    async def page(store: Store, until: int) -> EventPage:
        return await History(store).events(stream, until=until)

    async def past(store: Store) -> LoadedState:
        return await History(store).read(stream, version)

    assert system.sources.standby is not None
    assert system.sources.standby.usable
    with pytest.raises(Overloaded):
        await page(system.sources.standby.store, head)
    return await system.sources.of_log(head, page), await system.sources.of_past(
        0, past, lambda _: True
    )


@pytest.mark.usefixtures("any_lag")
def test_standby_gives_the_same_answers_as_the_primary(
    server: Serving,
    api: httpx.Client,
    servers: Pair,
    completed: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    id_, version = completed
    state = api.get(f"/executions/{id_}").json()
    at = state["metadata"]["updatedAt"]
    paths = (
        "/executions?status=completed&facets=status,service&count=true",
        f"/executions?status=completed&at={at}&count=true",
        *("/executions.ndjson?status=completed", "/analytics/executions?by=status"),
        *(f"/executions/{id_}?version={version}", f"/executions/{id_}/steps?version={version}"),
        *(f"/executions/{id_}/events", f"/executions/{id_}/events?include=execution&order=desc"),
    )
    store, sources = server.system.store, server.system.sources
    with servers.paused():
        with monkeypatch.context() as patch:
            patch.setattr(sources, "standby", None)
            by_primary = [api.get(path) for path in paths]
        monkeypatch.setattr(sources, "primary", SimpleNamespace(seen=store.seen))
        monkeypatch.setattr(sources, "of_past", require_found(sources.of_past))
        for path, expected in zip(paths, by_primary, strict=True):
            answered = api.get(path)
            assert ok_text(answered) == ok_text(expected), path
            assert answered.headers.get("log-position") == expected.headers.get("log-position")
        head = ask(servers.standby, HEAD)
        loaded = server.run(Loader(StoredLog(store, sources)).between(0, head))
        assert [entry.position for entry in loaded] == list(range(1, head + 1))


def require_found(of_past: Any) -> Any:
    """Wrap `of_past` so that it must find a state."""

    async def find_and_require(*asked: Any) -> LoadedState:
        found: LoadedState | None = await of_past(*asked)
        assert found is not None
        return found

    return find_and_require


def ok_text(response: httpx.Response) -> str:
    assert response.is_success, response.text
    return response.text


@pytest.mark.usefixtures("completed")
def test_primary_answers_while_the_standby_is_unavailable(api: httpx.Client, servers: Pair) -> None:
    with capture_logs() as logged:
        servers.kill_standby()
        for path in ("/executions", "/analytics/executions") * 10:
            ok(api.get(path))
        wait_until(lambda: reads_from(api) == "primary")
        assert "executions_reads_from_standby 0.0" in api.get("/metrics").text
        servers.start_standby()
        wait_until(lambda: reads_from(api) == "standby")
    assert "executions_reads_from_standby 1.0" in api.get("/metrics").text
    said = [line["event"] for line in logged if line["event"].startswith("reads go")]
    assert said == ["reads go to the primary, not to the standby", "reads go to the standby again"]


@pytest.mark.usefixtures("completed")
def test_standby_that_lags_is_not_read_from(
    api: httpx.Client, executions: Executions, servers: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby_module, "MOST_LAG", 0.3)
    with servers.paused():
        made = executions.create()
        wait_until(lambda: reads_from(api) == "primary")
        assert made["$id"] in ids(api.get("/executions", params={"minPosition": made["position"]}))
    wait_until(lambda: reads_from(api) == "standby")


@pytest.mark.usefixtures("completed")
def test_standby_that_is_promoted_is_not_read_from_any_more(servers: Pair) -> None:
    with (
        new_standby(servers.primary, servers.of_primary) as (standby, _),
        serving(servers.primary.conninfo(), standby=standby.conninfo()) as running,
        running.client() as client,
    ):
        wait_until(lambda: reads_from(client) == "standby")
        ask(standby, "SELECT pg_promote()")
        ok(client.get("/executions"))
        wait_until(lambda: reads_from(client) == "primary")
        made = ok(client.post("/users", json={"$id": "ann", "name": "Ann", "kind": "person"}))
        listed = client.get("/executions", params={"minPosition": made["position"]})
        assert int(listed.headers["log-position"]) >= made["position"]
        assert ok(listed)["data"]


@pytest.mark.parametrize("of", ["the primary", "another log"])
@pytest.mark.usefixtures("completed")
def test_database_that_is_not_a_standby_of_the_log_is_not_read_from(servers: Pair, of: str) -> None:
    database = servers.primary.conninfo()
    if of == "another log":
        with psycopg.connect(servers.primary.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE other")
        migrate(servers.primary.conninfo("other"), "executions")
        servers.wait_until_equal()
        database = servers.standby.conninfo("other")
    reason = {"the primary": "it is no standby", "another log": "it is of another log"}[of]
    with (
        capture_logs() as logged,
        serving(servers.primary.conninfo(), standby=database) as running,
        running.client() as client,
    ):
        wait_until(lambda: any(line.get("reason") == reason for line in logged))
        assert reads_from(client) == "primary"
        assert ok(client.get("/executions"))["data"]
