"""Hosted logs: closed when idle, opened for requests; logs that cannot be opened; logs added and removed at run time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.cells.registry import LogLocation, LogRegistry
from api.hosting import composition, hosted_logs
from api.hosting.hosted_logs import HostedLogs
from api.hosting.opened_log import Parts
from domain.errors import NotFound, Overloaded
from domain.eventlog.migrations import settle_master_key
from projections.preparation import migrate
from tests.api.hosting.conftest import person
from tests.support.api_client import ok
from tests.support.running_server import Serving, serving
from tests.support.waiting import wait_until

NOWHERE = "host=127.0.0.1 port=9 dbname=x connect_timeout=2"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> LogRegistry:
    registry = LogRegistry(tmp_path_factory.mktemp("hosting") / "logs.json")
    registry.put("north", LogLocation.of("north"))
    registry.put("away", LogLocation.of("away", url=NOWHERE))
    registry.put("locked", LogLocation.of("locked"))
    registry.put("renamed", LogLocation.of("renamed"))
    return registry


@pytest.fixture(scope="module")
def resting_server(module_database: str, registry: LogRegistry) -> Iterator[Serving]:
    migrate(module_database, "executions_locked")
    other = b"o" * 32
    settle_master_key(module_database, "executions_locked", lambda: other, lambda: other)
    migrate(module_database, "executions_renamed")
    with psycopg.connect(module_database) as connection:
        connection.execute("UPDATE executions_renamed.head SET log_name = 'former'")
    with serving(
        module_database, data_dir=registry.file.parent, log_name="main", logs=registry.file
    ) as running:
        yield running
    gc.collect()  # closes a connection that was being made, which would delay the drop of the database


def test_idle_log_has_no_parts_and_no_connection_and_is_opened_again(
    resting_server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = resting_server.hosted
    assert hosted is not None
    with resting_server.client("north") as north:
        made = person(north, "Ann")
        assert hosted.open_one("north") is not None
        monkeypatch.setattr(hosted, "_idle_after", 0.2)
        wait_until(lambda: hosted.open_one("north") is None)
        wait_until(lambda: not hosted._opened)
        monkeypatch.undo()
        monkeypatch.setattr(
            composition, "prepare", None
        )  # facts about the log are not queried again
        databases = hosted._open.__self__._databases  # type: ignore[attr-defined]  # a method of `LogOpener`
        wait_until(lambda: not databases._used)
        assert ok(north.get(f"/users/{made}"))["name"] == "Ann"


@pytest.mark.parametrize("name", ["away", "locked", "renamed"])
def test_log_that_cannot_be_opened_is_named_and_delays_no_other(
    resting_server: Serving, name: str
) -> None:
    with resting_server.client(name) as bad, resting_server.client("north") as north:
        answer = bad.get("/users")
        assert (answer.status_code, answer.json()["log"]) == (503, name)
        assert answer.headers["retry-after"]
        assert "key" not in answer.json()["detail"]
        assert north.get("/users").status_code == 200
    with resting_server.client() as main:
        ready = main.get("/readyz")
    assert ready.status_code == 200
    assert name in ready.json()["logs"]["away"]


def test_log_added_at_run_time_is_served_until_it_is_removed(
    resting_server: Serving, registry: LogRegistry
) -> None:
    with resting_server.client("late") as late:
        assert late.get("/users").status_code == 404
        registry.put("late", LogLocation.of("late"))
        wait_until(lambda: late.get("/users").status_code == 200)
        with late.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
            registry.remove("late")
            assert "closing" in stream.read().decode()
        assert late.get("/users").status_code == 404


class Fake:
    """An opener of parts without a function; it records each opening."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.fails = False

    @asynccontextmanager
    async def open(self, name: str, _: LogLocation) -> AsyncIterator[Parts]:
        self.begun.append(name)
        if self.fails:
            raise Overloaded
        yield FakeParts()  # type: ignore[misc]  # it has the used members


class FakeParts:
    """Parts whose streams have ended already."""

    def __init__(self) -> None:
        self.system = self
        self.hub = self.key_monitor = self.move_monitor = self.dispatcher = self

    def close(self) -> None:
        pass


@pytest.fixture
def many(tmp_path: Path) -> LogRegistry:
    registry = LogRegistry(tmp_path / "logs.json")
    for number in range(3):
        registry.put(f"log{number}", LogLocation.of(f"log{number}"))
    return registry


@pytest.mark.anyio
async def test_least_recently_used_log_is_closed_at_the_limit_of_open_logs(
    many: LogRegistry,
) -> None:
    fake = Fake()
    hosted = HostedLogs(many, fake.open, most_open=2)
    hosted.read()
    for name in ("log0", "log1", "log0", "log2"):
        async with hosted.borrow(name):
            pass
    await asyncio.sleep(0)
    assert (hosted.open_one("log1"), fake.begun) == (None, ["log0", "log1", "log2"])
    async with hosted.borrow("log0"), hosted.borrow("log2"):
        with pytest.raises(Overloaded):
            async with hosted.borrow("log1"):
                pass
    await hosted.stop()


@pytest.mark.anyio
async def test_log_in_use_is_not_closed(many: LogRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_logs, "POLL_INTERVAL", 0.01)
    hosted = HostedLogs(many, Fake().open, idle_after=0)
    hosted.start()
    hosted.read()
    async with hosted.borrow("log0"):
        await asyncio.sleep(0.1)
        assert hosted.state.open == 1
    for _ in range(200):
        await asyncio.sleep(0.01)
        if not hosted.state.open:
            break
    assert hosted.state.open == 0
    await hosted.stop()


@pytest.mark.anyio
async def test_log_that_failed_to_open_is_not_tried_at_each_request(many: LogRegistry) -> None:
    fake = Fake()
    fake.fails = True
    hosted = HostedLogs(many, fake.open)
    hosted.read()
    for _ in range(5):
        with pytest.raises(Overloaded):
            async with hosted.borrow("log0"):
                pass
    assert fake.begun == ["log0"]
    assert hosted.state.away == ["log0"]
    await hosted.stop()


@pytest.mark.anyio
async def test_simultaneous_requests_open_a_log_once(many: LogRegistry) -> None:
    fake = Fake()
    hosted = HostedLogs(many, fake.open)
    hosted.read()

    async def ask() -> Any:
        async with hosted.borrow("log0") as parts:
            return parts

    found = await asyncio.gather(*(ask() for _ in range(10)))
    assert fake.begun == ["log0"]
    assert len({id(parts) for parts in found}) == 1
    with pytest.raises(NotFound):
        async with hosted.borrow("none"):
            pass
    await hosted.stop()


@pytest.mark.anyio
async def test_idle_log_that_is_requested_while_it_is_about_to_close_stays_open(
    many: LogRegistry,
) -> None:
    hosted = HostedLogs(many, Fake().open, idle_after=0)
    hosted.read()
    async with hosted.borrow("log0"):
        pass

    async def ask() -> bool:
        async with hosted.borrow("log0") as parts:
            await asyncio.sleep(0)
            return parts is not None

    asked = asyncio.create_task(ask())
    await asyncio.sleep(0)
    hosted._close_idle()
    assert await asked
    await hosted.stop()
