"""Log lines without a network: who cannot take them, whom they cost something, and whom nothing."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import structlog

from api.streams import filters
from api.streams.filters import Filter
from api.streams.forms import FORMS, SSE
from api.streams.groups import Topic
from api.streams.hub import Hub
from api.streams.words import WATCH
from domain.errors import Overloaded
from domain.eventlog.notifications import Listener
from domain.eventlog.store import Store
from domain.model import Held
from projections.engine.migrations import migrate_projections
from projections.log_lines.model import LogLine
from projections.log_lines.projection import Logs
from projections.log_lines.reader import LogBook
from tests.streams.test_hub import Line, until
from tests.views.writing import NOON, Log, completed, opened, some

pytestmark = pytest.mark.anyio
WATCHING = Topic(FORMS[WATCH, SSE], "", Filter())
LOGS = WATCHING._replace(filter=Filter(types=("log",)))


class Running(NamedTuple):
    """A hub that follows a log with the executions `e-0` to `e-2`."""

    hub: Hub
    store: Store
    book: LogBook
    log: Log

    async def tell(self, execution: str, *messages: str) -> None:
        lines = [LogLine(level="info", message=message) for message in messages]
        await self.book.append(execution, lines, NOON)

    async def connect(self, topic: Topic = LOGS, held: Held[Any] | None = None) -> Line:
        if topic.filter.logs:
            await self.hub.logs.ready()
        line = Line()
        self.hub.connect(line, topic, await self.hub.head(), held).pump()
        return line


@asynccontextmanager
async def running(conninfo: str) -> AsyncIterator[Running]:
    migrate_projections(conninfo, "executions", [Logs()])
    async with opened(conninfo) as store:
        listener = Listener(conninfo, "executions")
        hub = Hub(store, listener, "executions", 10_000)
        listener.start()
        hub.start()
        try:
            log = Log(store)
            await log.write(some(3))
            yield Running(hub, store, LogBook(store, hub.logs.appended), log)
        finally:
            await hub.stop()
            await listener.stop()


def said(line: Line) -> list[str]:
    return re.findall(r'"message":"([^"]*)"', line.written.decode())


def frames(line: Line) -> list[str]:
    return re.findall(r"event: ([a-z-]+)\n", line.written.decode())


async def test_who_cannot_take_a_line_misses_it_and_is_told_so(database: str) -> None:
    async with running(database) as house:
        quick, slow = await house.connect(), await house.connect()
        await house.tell("e-0", "one")
        await until(lambda: said(slow) == ["one"])
        slow.paused = True
        for number in range(50):
            await house.tell("e-0", f"missed {number}")
        await until(lambda: len(said(quick)) == 51)
        assert said(slow) == ["one"]
        slow.resume()
        await until(lambda: frames(slow) == ["caught-up", "log", "fell-behind", "caught-up"])
        await house.tell("e-0", "two")
        await until(lambda: said(slow) == ["one", "two"])
        assert frames(quick) == ["caught-up"] + ["log"] * 52


async def test_who_takes_everything_in_time_is_not_told_that_it_fell_behind(database: str) -> None:
    async with running(database) as house:
        line = await house.connect()
        line.paused = True
        await house.log.write([completed("e-1")])  # the note of it is a line, and missed
        await until(lambda: house.hub.window.head == 4)
        line.resume()
        await until(lambda: frames(line)[-2:] == ["fell-behind", "caught-up"])
        line.paused = True
        await house.log.write(some(5)[3:])
        await until(lambda: house.hub.window.head == 6)
        line.resume()
        await house.tell("e-0", "here")
        await until(lambda: said(line) == ["here"])
        assert frames(line).count("fell-behind") == 1


async def test_a_line_moves_no_cursor(database: str) -> None:
    async with running(database) as house:
        line = await house.connect()
        ids = re.findall(rb"id: (\d+)", line.written)
        await house.tell("e-0", *(f"{number}" for number in range(200)))
        await until(lambda: len(said(line)) == 200)
        assert re.findall(rb"id: (\d+)", line.written) == ids == [b"3"]
        assert line.consumer is not None
        assert (line.consumer.cursor, line.consumer.sent) == (3, 3)


async def test_nobody_who_does_not_ask_costs_a_question(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        asked: list[str] = []
        found = house.hub.logs._tail._found

        async def counted() -> Any:
            asked.append("found")
            return await found()

        monkeypatch.setattr(house.hub.logs._tail, "_found", counted)
        monkeypatch.setattr("api.streams.logs.LINGER", 0.5)
        await house.connect(LOGS._replace(filter=Filter()))
        await house.tell("e-0", "unheard")
        await asyncio.sleep(0.6)
        assert asked == []
        line = await house.connect()
        await house.tell("e-0", "heard")
        await until(lambda: said(line) == ["heard"])
        assert line.consumer is not None
        house.hub.disconnect(line.consumer)
        await asyncio.sleep(1.0)
        asked.clear()
        await house.tell("e-0", "unheard")
        await asyncio.sleep(0.6)
        assert asked == []
        later = await house.connect()
        await house.tell("e-0", "heard again")
        await until(lambda: said(later) == ["heard again"])


async def test_who_was_long_on_the_way_is_told_lines_too(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        monkeypatch.setattr("api.streams.logs.LINGER", 0.0)
        await house.hub.logs.ready()
        await asyncio.sleep(0.1)
        line = Line()
        house.hub.connect(line, LOGS, 3, None).pump()
        await asyncio.sleep(0.3)
        await house.tell("e-0", "heard")
        await until(lambda: said(line) == ["heard"])


async def test_a_database_that_goes_away_meanwhile_costs_no_line(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        line = await house.connect()
        keys, asked = house.store.keys, list[object]()

        async def away_at_first(streams: Any) -> Any:
            asked.append(streams)
            if len(asked) < 3:
                raise Overloaded
            return await keys(streams)

        monkeypatch.setattr(house.store, "keys", away_at_first)
        await house.tell("e-0", "one", "two")
        await until(lambda: said(line) == ["one", "two"])
        await house.tell("e-1", "three")
        await until(lambda: said(line) == ["one", "two", "three"])


async def test_after_an_erasure_a_line_says_that_it_was_erased(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        line = await house.connect()

        async def gone(streams: Any) -> dict[str, None]:
            return dict.fromkeys(streams)

        monkeypatch.setattr(house.store, "keys", gone)
        await house.tell("e-0", "s3cret")
        await until(lambda: frames(line)[-1:] == ["log"])
        assert b"s3cret" not in line.written
        assert b'"message":null,"erased":true' in line.written


async def test_what_cannot_be_noted_of_an_event_costs_nobody_the_event(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        listener, watcher = await house.connect(), await house.connect(WATCHING)

        def broken(_: object) -> None:
            raise ValueError("broken")

        with monkeypatch.context() as patch, structlog.testing.capture_logs():
            patch.setattr(house.hub.logs._present, "note", broken)
            await house.log.write([completed("e-0")])
            await until(lambda: frames(watcher)[-1:] == ["completed"])
            await until(lambda: frames(listener) == ["caught-up", "fell-behind", "caught-up"])
        await house.log.write([completed("e-1")])
        await until(lambda: said(listener) == ["Request completed"])
        assert frames(watcher).count("completed") == 2


async def test_who_waits_for_lines_that_cannot_be_told_hears_that_it_missed_some(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise ValueError("broken")

    async with running(database) as house:
        line = await house.connect()
        monkeypatch.setattr("api.streams.logs.REPAIR", 0.05)
        with monkeypatch.context() as patch, structlog.testing.capture_logs():
            patch.setattr(house.store, "keys", broken)
            await house.tell("e-0", "lost")
            await until(lambda: frames(line) == ["caught-up", "fell-behind", "caught-up"])
        await house.tell("e-0", "found")
        await until(lambda: said(line) == ["found"])


async def test_a_state_that_cannot_be_read_costs_no_line_of_others(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        fetch = house.hub.source.states._fetch

        async def poisoned(streams: Sequence[str]) -> Any:
            if "execution/e-0" in streams:
                raise ValueError("not to be read")
            return await fetch(streams)

        monkeypatch.setattr(house.hub.source.states, "_fetch", poisoned)
        asked = (("service", "s-1"),)
        mine = filters.read("log", asked, watched=True)
        line = await house.connect(LOGS._replace(filter=mine))
        with structlog.testing.capture_logs():
            await house.book.append("e-0", [LogLine(level="info", message="lost")], NOON)
            await house.book.append("e-1", [LogLine(level="info", message="found")], NOON)
            await until(lambda: said(line) == ["found"])


async def test_a_line_costs_only_its_own_watchers(database: str) -> None:
    async with running(database) as house:
        state: Any = SimpleNamespace(final=False)
        held = Held(state, 1, 1, NOON)
        for number in range(1_000):
            topic = LOGS._replace(stream=f"execution/none-{number}")
            house.hub.connect(Line(), topic, 3, held).live = True
        mine = await house.connect(LOGS._replace(stream="execution/e-0"), held._replace(position=3))
        await until(lambda: "caught-up" in frames(mine))
        began = time.process_time()
        for number in range(50):
            await house.tell("e-0", *(f"{number}-{nth}" for nth in range(20)))
        await until(lambda: len(said(mine)) == 1_000)
        assert (time.process_time() - began) / 1_000 < 0.002


async def test_a_note_of_the_server_is_told_with_its_event(database: str) -> None:
    async with running(database) as house:
        line = await house.connect()
        await house.log.write([completed("e-1"), completed("e-2")])
        await until(lambda: said(line) == ["Request completed"] * 2)
