"""The hub without a network: subscribers that are blocked, fall behind and catch up, and do not affect others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from api.clock import Clock
from api.streaming.close_codes import SLOW
from api.streaming.heartbeat import HEARTBEAT
from api.streaming.hub import Hub
from api.streaming.index import WHOLE_LOG
from api.streaming.log.entry import Chunk, Entry
from api.streaming.log.page_cache import SIZE
from api.streaming.topic import KnownStream, TopicGroup
from domain.eventlog.connection import notifications
from domain.model import Versioned
from tests.support.hub import LOG, Line, append, connect, running, until


@pytest.mark.anyio
async def test_past_and_live_events_are_sent_without_gap_or_repeat(database: str) -> None:
    async with running(database) as (hub, store):
        await append(store, 2 * SIZE + 10)
        await hub.head()
        lines = [connect(hub, cursor) for cursor in (0, 1, SIZE - 1, SIZE, 2 * SIZE + 10)]
        await append(store, SIZE)
        end = 3 * SIZE + 10
        await until(lambda: all(line.positions[-1:] == [end] for line in lines))
        for line, cursor in zip(lines, (0, 1, SIZE - 1, SIZE, 2 * SIZE + 10), strict=True):
            assert line.positions == list(range(cursor + 1, end + 1))


@pytest.mark.anyio
async def test_slow_subscriber_gets_fell_behind_and_the_rest_from_the_store(
    database: str,
) -> None:
    async with running(database) as (hub, store):
        hub.raw.pages._recent._capacity = 1  # two pages stay cached
        quick, slow = connect(hub), connect(hub)
        await append(store, 10)
        await until(lambda: slow.positions == list(range(1, 11)))
        slow.paused = True
        for _ in range(5):
            await append(store, SIZE)
        end = 10 + 5 * SIZE
        await until(lambda: quick.positions[-1:] == [end])
        assert slow.positions[-1:] == [10]
        slow.resume()
        await until(lambda: slow.positions[-1:] == [end])
        assert slow.positions == list(range(1, end + 1)) == quick.positions
        await until(lambda: slow.controls == ["caught-up", "fell-behind", "caught-up"])
        assert quick.controls == ["caught-up"]


@pytest.mark.anyio
async def test_blocked_subscriber_is_cut_after_the_time_limit(database: str) -> None:
    async with running(database) as (hub, store):
        hub.heartbeat.second, hub.heartbeat.unread_timeout = 0.01, 0.2
        line, other = connect(hub), connect(hub)
        line.paused = True
        await append(store, 5)
        await until(lambda: line.cut_with == SLOW)
        assert line.positions == []
        assert other.positions == [1, 2, 3, 4, 5]
        assert other.cut_with is None


@pytest.mark.anyio
async def test_heartbeats_are_sent_while_no_event_is_published(database: str) -> None:
    async with running(database) as (hub, _):
        hub.heartbeat.second = 0.01
        line = connect(hub)
        await until(lambda: line.written.count(b": heartbeat\n") >= 2)


class TickRecorder(Line):
    """A line that records the tick of the heartbeat at each write."""

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self.ticks: list[int] = []
        self._clock = hub.state

    def write(self, data: bytes) -> None:
        super().write(data)
        self.ticks.append(self._clock.tick)


@pytest.mark.anyio
async def test_heartbeat_is_sent_15_s_after_the_last_write(
    database: str,
) -> None:
    async with running(database) as (hub, store):
        hub.heartbeat.second = 0.01
        lines = [TickRecorder(hub) for _ in range(2 * HEARTBEAT)]
        for line in lines:
            hub.connect(line, LOG, 0, None).start()
        await append(store, 1)
        await until(lambda: all(line.positions == [1] for line in lines))
        for line in lines:
            line.ticks = line.ticks[-1:]
        await until(lambda: all(len(line.ticks) >= 3 for line in lines))
        for line in lines:
            assert [after - before for before, after in pairwise(line.ticks[:3])] == [HEARTBEAT] * 2
            assert line.written.count(b": heartbeat\n") >= 2


@pytest.mark.anyio
async def test_tail_is_woken_by_notifications_and_polls_rarely(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "LISTENING_POLL", 60)
    async with running(database) as (hub, store):
        looked, read = list[int](), store.read

        async def record_and_read(after: int, limit: int) -> Any:
            looked.append(after)
            return await read(after, limit)

        line = connect(hub)
        await append(store, 1)
        await until(lambda: line.positions == [1])
        await asyncio.sleep(0.4)  # a poll that was scheduled before the listener was connected
        monkeypatch.setattr(store, "read", record_and_read)
        await asyncio.sleep(0.8)
        assert looked == []
        await append(store, 1)
        await until(lambda: line.positions == [1, 2])


class NotIterable(dict[Any, Any]):
    """A dictionary that allows look-ups and refuses to be iterated."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("it was iterated")

    keys = values = items = __iter__


@pytest.mark.anyio
async def test_event_does_not_visit_subscribers_of_other_streams(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited = set[str]()
    note, chunks = TopicGroup.note, TopicGroup.chunks

    def record_note(group: TopicGroup[Any], entries: Sequence[Entry]) -> None:
        visited.add(group.topic.stream)
        note(group, entries)

    def record_chunks(group: TopicGroup[Any], entries: Sequence[Entry]) -> list[Chunk]:
        visited.add(group.topic.stream)
        return chunks(group, entries)

    async with running(database) as (hub, store):
        await append(store, 1)
        versioned = Versioned[Any](SimpleNamespace(final=False), 1, 1, Clock()())
        for number in range(500):
            topic = LOG._replace(stream=f"user/none-{number}")
            hub.connect(Line(), topic, 1, KnownStream.of(versioned)).start()
        everything = connect(hub, 1)
        await until(lambda: all(one.live for one in hub._subscribers))
        monkeypatch.setattr(TopicGroup, "note", record_note)
        monkeypatch.setattr(TopicGroup, "chunks", record_chunks)
        index = hub.raw.index
        monkeypatch.setattr(index, "_streams", NotIterable(index._streams))
        await append(store, 20)
        await until(lambda: everything.positions == list(range(2, 22)))
        assert visited == {WHOLE_LOG}
