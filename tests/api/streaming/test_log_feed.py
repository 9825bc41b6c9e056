"""The feed of log lines without a network: blocked watchers, faults, and watchers of other executions."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from api.streaming import filter as filters
from api.streaming.filter import Filter
from api.streaming.phase import Phase
from api.streaming.topic import KnownStream
from domain.errors import Overloaded
from domain.model import Versioned
from projections.log_lines.tail import LogLineTail
from tests.support.event_writer import NOON, completed, some
from tests.support.hub import Line, until
from tests.support.watched_log import LOGS, WATCHING, frames, messages_of, running

pytestmark = pytest.mark.anyio


async def test_blocked_watcher_misses_log_lines_and_gets_fell_behind(database: str) -> None:
    async with running(database) as house:
        quick, slow = await house.connect(), await house.connect()
        await house.tell("e-0", "one")
        await until(lambda: messages_of(slow) == ["one"])
        slow.paused = True
        for number in range(50):
            await house.tell("e-0", f"missed {number}")
        await until(lambda: len(messages_of(quick)) == 51)
        assert messages_of(slow) == ["one"]
        slow.resume()
        await until(lambda: frames(slow) == ["caught-up", "log", "fell-behind", "caught-up"])
        await house.tell("e-0", "two")
        await until(lambda: messages_of(slow) == ["one", "two"])
        assert frames(quick) == ["caught-up"] + ["log"] * 52


async def test_timely_watcher_gets_no_fell_behind(database: str) -> None:
    async with running(database) as house:
        line = await house.connect()
        line.paused = True
        await house.log.write([completed("e-1")])  # its note is a log line, which is missed
        await until(lambda: house.hub.folded.published.swept == 4)
        line.resume()
        await until(lambda: frames(line)[-2:] == ["fell-behind", "caught-up"])
        line.paused = True
        await house.log.write(some(5)[3:])
        await until(lambda: house.hub.folded.published.swept == 6)
        line.resume()
        await house.tell("e-0", "here")
        await until(lambda: messages_of(line) == ["here"])
        assert frames(line).count("fell-behind") == 1


async def test_log_line_does_not_move_the_cursor(database: str) -> None:
    async with running(database) as house:
        line = await house.connect()
        ids = re.findall(rb"id: (\d+)", line.written)
        await house.tell("e-0", *(f"{number}" for number in range(200)))
        await until(lambda: len(messages_of(line)) == 200)
        assert re.findall(rb"id: (\d+)", line.written) == ids == [b"3"]
        assert line.subscriber is not None
        assert (line.subscriber.cursor, line.subscriber.sent) == (3, 3)


async def test_log_lines_are_not_read_without_a_subscriber(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        asked: list[str] = []
        tail = house.hub.logs._tail
        assert isinstance(tail, LogLineTail)
        found = tail._find

        async def count_and_find() -> Any:
            asked.append("found")
            return await found()

        monkeypatch.setattr(tail, "_find", count_and_find)
        monkeypatch.setattr("api.streaming.log_lines.CONNECTS_WITHIN", 0.5)
        await house.connect(LOGS._replace(filter=Filter()))
        await house.tell("e-0", "unheard")
        await asyncio.sleep(0.6)
        assert asked == []
        line = await house.connect()
        await house.tell("e-0", "heard")
        await until(lambda: messages_of(line) == ["heard"])
        assert line.subscriber is not None
        house.hub.disconnect(line.subscriber)
        await asyncio.sleep(1.0)
        asked.clear()
        await house.tell("e-0", "unheard")
        await asyncio.sleep(0.6)
        assert asked == []
        later = await house.connect()
        await house.tell("e-0", "heard again")
        await until(lambda: messages_of(later) == ["heard again"])


async def test_watcher_that_caught_up_gets_log_lines(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        monkeypatch.setattr("api.streaming.log_lines.CONNECTS_WITHIN", 0.0)
        await house.hub.logs.ready()
        await asyncio.sleep(0.1)
        line = Line()
        house.hub.connect(line, LOGS, 3, None).start()
        await asyncio.sleep(0.3)
        await house.tell("e-0", "heard")
        await until(lambda: messages_of(line) == ["heard"])


async def test_database_outage_loses_no_log_line(
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
        await until(lambda: messages_of(line) == ["one", "two"])
        await house.tell("e-1", "three")
        await until(lambda: messages_of(line) == ["one", "two", "three"])


async def test_log_line_after_an_erasure_is_marked_erased(
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


async def test_event_is_streamed_even_if_its_server_log_line_fails(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        listener, watcher = await house.connect(), await house.connect(WATCHING)

        def fail(_: object) -> None:
            raise ValueError("broken")

        with monkeypatch.context() as patch, structlog.testing.capture_logs():
            patch.setattr("api.streaming.log_lines.note_of", fail)
            await house.log.write([completed("e-0")])
            await until(lambda: frames(watcher)[-1:] == ["completed"])
            await until(lambda: frames(listener) == ["caught-up", "fell-behind", "caught-up"])
        await house.log.write([completed("e-1")])
        await until(lambda: messages_of(listener) == ["Request completed"])
        assert frames(watcher).count("completed") == 2


async def test_watcher_of_unreadable_log_lines_gets_fell_behind(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise ValueError("broken")

    async with running(database) as house:
        line = await house.connect()
        monkeypatch.setattr("api.streaming.log_lines.ERROR_PAUSE", 0.05)
        with monkeypatch.context() as patch, structlog.testing.capture_logs():
            patch.setattr(house.store, "keys", fail)
            await house.tell("e-0", "lost")
            await until(lambda: frames(line) == ["caught-up", "fell-behind", "caught-up"])
        await house.tell("e-0", "found")
        await until(lambda: messages_of(line) == ["found"])


async def test_log_lines_of_other_executions_are_sent_although_a_state_is_unreadable(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as house:
        fetch = house.hub.loader.states._fetch

        async def poisoned(wanted: Sequence[tuple[str, int]]) -> Any:
            if any(stream == "execution/e-0" for stream, _ in wanted):
                raise ValueError("not to be read")
            return await fetch(wanted)

        monkeypatch.setattr(house.hub.loader.states, "_fetch", poisoned)
        asked = (("service", "s-1"),)
        mine = filters.read("log", asked, watched=True)
        line = await house.connect(LOGS._replace(filter=mine))
        with structlog.testing.capture_logs():
            await house.tell("e-0", "lost")
            await house.tell("e-1", "found")
            await until(lambda: messages_of(line) == ["found"])


async def test_log_line_does_not_visit_watchers_of_other_executions(database: str) -> None:
    async with running(database) as house:
        state: Any = SimpleNamespace(final=False)
        versioned = Versioned(state, 1, 1, NOON)
        for number in range(1_000):
            topic = LOGS._replace(stream=f"execution/none-{number}")
            house.hub.connect(Line(), topic, 3, KnownStream.of(versioned)).phase = Phase.LIVE
        mine = await house.connect(
            LOGS._replace(stream="execution/e-0"), versioned._replace(position=3)
        )
        await until(lambda: "caught-up" in frames(mine))
        began = time.process_time()
        for number in range(50):
            await house.tell("e-0", *(f"{number}-{nth}" for nth in range(20)))
        await until(lambda: len(messages_of(mine)) == 1_000)
        assert (time.process_time() - began) / 1_000 < 0.002


async def test_server_log_line_is_streamed_with_its_event(database: str) -> None:
    async with running(database) as house:
        line = await house.connect()
        await house.log.write([completed("e-1"), completed("e-2")])
        await until(lambda: messages_of(line) == ["Request completed"] * 2)
