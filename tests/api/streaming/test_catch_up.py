"""Transitions of a subscriber between catching up and live, one by one (test_subscriber_machine.py has random ones)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

from api.streaming.close_codes import FAULT
from api.streaming.encoding import ENCODERS, SSE
from api.streaming.feed import _push
from api.streaming.filter import Filter
from api.streaming.frames import EVENTS, EVENTS_WITH_STATE, WATCH
from api.streaming.hub import OTHER_LOG, Hub
from api.streaming.log.entry import Chunk
from api.streaming.log.loader import StreamPage
from api.streaming.topic import KnownStream, Topic
from domain.eventlog.codec import EventRow
from domain.execution.events.progress import ProgressUpdated
from domain.model import Event, Recorded
from tests.support.hub import Line, until
from tests.support.memory_log import MemoryLog, MemoryTail, created

pytestmark = pytest.mark.anyio
STREAM = "execution/e-0"


class Engine(NamedTuple):
    """A hub over a log in memory with one event."""

    hub: Hub
    log: MemoryLog
    tail: MemoryTail

    async def publish(self, *events: Event) -> None:
        for event in events:
            self.log.write(STREAM, event)
        self.tail.wake()
        await until(lambda: self.hub.raw.published.swept == len(self.log.rows))

    async def connect(self, stream: str = "", format_: Any = EVENTS, cursor: int = 0) -> Line:
        line, topic = Line(), Topic(ENCODERS[format_, SSE], stream, Filter())
        versioned = await self.log.state(stream) if stream else None
        self.hub.connect(line, topic, cursor, KnownStream.of(versioned)).start()
        return line


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    log = MemoryLog()
    tail = MemoryTail(log)
    hub = Hub(tail, log, cast(Any, SimpleNamespace()), 100)
    hub.start()
    engine = Engine(hub, log, tail)
    await engine.publish(created("eu"))
    yield engine
    await hub.stop()


def progress(value: float) -> Event:
    return ProgressUpdated(progress=value)


async def test_event_published_while_the_rows_of_its_stream_are_read_is_delivered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, late = engine.log.stream_page, [progress(10)]

    async def slow(stream: str, version: int) -> StreamPage:
        page = await read(stream, version)
        if late:
            await engine.publish(late.pop())
        return page

    monkeypatch.setattr(engine.log, "stream_page", slow)
    line = await engine.connect(STREAM)
    await until(lambda: line.positions == [1, 2])


async def test_event_that_a_subscriber_has_already_is_not_sent_to_it_again(engine: Engine) -> None:
    line = await engine.connect(cursor=1)
    subscriber = line.subscriber
    assert subscriber is not None
    await until(lambda: subscriber.live)
    before = line.written
    _push([subscriber], Chunk(b"again", subscriber.cursor), 0)
    assert line.written == before
    _push([subscriber], Chunk(b"new", subscriber.cursor + 1), 0)
    assert line.written == before + b"new"


async def test_subscriber_that_is_catching_up_is_ended_with_other_log(engine: Engine) -> None:
    line = Line()
    line.paused = True
    engine.hub.connect(line, Topic(ENCODERS[EVENTS, SSE], "", Filter()), 0, None).start()
    assert line.subscriber is not None
    await asyncio.sleep(0)
    engine.hub._begin_to_close(FAULT, OTHER_LOG)
    for _ in range(10):  # the hub tries again while the line is blocked
        await asyncio.sleep(0)
    line.resume()
    ending = await line.subscriber.done
    assert (ending.code, ending.reason) == (FAULT, OTHER_LOG)
    assert b'"reason":"other-log"' in line.written


async def test_live_subscriber_has_no_task(engine: Engine) -> None:
    line = await engine.connect()
    assert line.subscriber is not None
    await until(lambda: b"caught-up" in line.written)
    assert line.subscriber._task is None
    await asyncio.sleep(0)
    assert "streaming: catch-up" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_folded_feed_runs_only_while_it_has_subscribers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = list[int]()
    decode = engine.log.decode

    def record_and_decode(row: EventRow) -> Recorded:
        decoded.append(row.position)
        return decode(row)

    monkeypatch.setattr(engine.log, "decode", record_and_decode)
    raw = await engine.connect()
    await engine.publish(progress(10))
    await until(lambda: raw.positions == [1, 2])
    assert decoded == []
    watcher = await engine.connect(format_=EVENTS_WITH_STATE, cursor=2)
    await engine.publish(progress(20))
    await until(lambda: watcher.positions == [3])
    assert 3 in decoded
    assert watcher.subscriber is not None
    engine.hub.disconnect(watcher.subscriber)
    decoded.clear()
    await engine.publish(progress(30))
    await until(lambda: raw.positions == [1, 2, 3, 4])
    assert decoded == []


async def test_folding_that_waits_for_the_database_does_not_delay_raw_subscribers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    fold = engine.hub.folded._folding.fold

    async def slow(entries: Any) -> Any:
        await go_on.wait()
        return await fold(entries)

    monkeypatch.setattr(engine.hub.folded._folding, "fold", slow)
    raw, watcher = await engine.connect(), await engine.connect(format_=WATCH, cursor=1)
    await until(lambda: b"caught-up" in watcher.written)
    await engine.publish(progress(10))
    await until(lambda: raw.positions == [1, 2])
    assert b"event: progress" not in watcher.written
    go_on.set()
    await until(lambda: b"event: progress" in watcher.written)
