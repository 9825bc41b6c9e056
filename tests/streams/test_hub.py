"""The hub without a network: lines that fill up, fall behind, catch up, and cost nothing to others."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from api.clock import now
from api.streams.connection import SLOW, Connection
from api.streams.entries import SIZE
from api.streams.filters import ALL
from api.streams.forms import FORMS, SSE
from api.streams.groups import Topic
from api.streams.hub import Hub
from api.streams.wheel import HEARTBEAT
from api.streams.words import EVENTS
from domain import registry
from domain.catalog.user import UserCreated
from domain.eventlog import notifications
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.notifications import Listener
from domain.eventlog.store import Store
from domain.model import Held, Recorded

LOG = Topic(FORMS[EVENTS, SSE], "", ALL)


class Line:
    """A line that takes everything, or nothing."""

    def __init__(self) -> None:
        self.consumer: Connection | None = None
        self.paused = False
        self.gone = False
        self.written = b""
        self.cut_with: int | None = None

    def write(self, data: bytes) -> None:
        self.written += data

    def feed(self, data: bytes) -> None:
        self.write(data)

    def cut(self, code: int, reason: str) -> None:
        self.cut_with = code

    def resume(self) -> None:
        self.paused = False
        assert self.consumer is not None
        self.consumer.resumed()

    @property
    def positions(self) -> list[int]:
        return [int(found) for found in re.findall(rb'"position":(\d+),"version"', self.written)]

    @property
    def controls(self) -> list[str]:
        names = re.findall(rb"event: ([a-z-]+)\n(?:retry: \d+\n)?data: {\"position", self.written)
        return [name.decode() for name in names]


async def append(store: Store, count: int) -> None:
    """So many events, each of a stream of its own."""
    async with store.transaction() as transaction:
        first, at = transaction.position + 1, now()
        event = UserCreated(name="Ann", kind="person")
        rows = [
            store.codec.encode(Recorded(f"user/u-{place}", 1, place, at, event, "tests"), None)
            for place in range(first, first + count)
        ]
        await transaction.append(rows, (), at)


@asynccontextmanager
async def running(conninfo: str) -> AsyncIterator[tuple[Hub, Store]]:
    store = Store(conninfo, "executions", registry.codec(), Keyring(Vault(b"k" * 32)))
    listener = Listener(conninfo, "executions")
    hub = Hub(store, listener, "executions", 10_000)
    await store.open()
    listener.start()
    hub.start()
    try:
        yield hub, store
    finally:
        await hub.stop()
        await listener.stop()
        await store.close()


def connect(hub: Hub, cursor: int = 0, topic: Topic = LOG) -> Line:
    line = Line()
    hub.connect(line, topic, cursor, None).pump()
    return line


async def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while True:
        if reached():
            return
        assert time.monotonic() < deadline, "it has not come true"
        await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_the_past_and_the_present_are_one_stream(database: str) -> None:
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
async def test_who_falls_out_of_the_window_is_told_and_gets_the_rest_from_the_store(
    database: str,
) -> None:
    async with running(database) as (hub, store):
        hub.window._recent._limit = 1  # two segments stay
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
async def test_who_takes_nothing_for_too_long_is_cut(database: str) -> None:
    async with running(database) as (hub, store):
        hub.wheel.second, hub.wheel.stalled = 0.01, 0.2
        line, other = connect(hub), connect(hub)
        line.paused = True
        await append(store, 5)
        await until(lambda: line.cut_with == SLOW)
        assert line.positions == []
        assert other.positions == [1, 2, 3, 4, 5]
        assert other.cut_with is None


@pytest.mark.anyio
async def test_silence_is_filled_with_heartbeats(database: str) -> None:
    async with running(database) as (hub, _):
        hub.wheel.second = 0.01
        line = connect(hub)
        await until(lambda: line.written.count(b": heartbeat\n") >= 2)


class Clocked(Line):
    """A line that knows when it was written to, in ticks of the wheel."""

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self.ticks: list[int] = []
        self._wheel = hub.wheel

    def write(self, data: bytes) -> None:
        super().write(data)
        self.ticks.append(self._wheel.tick)


@pytest.mark.anyio
async def test_nobody_waits_for_a_heartbeat_longer_than_its_interval_whenever_an_event_came(
    database: str,
) -> None:
    async with running(database) as (hub, store):
        hub.wheel.second = 0.01
        lines = [Clocked(hub) for _ in range(2 * HEARTBEAT)]
        for line in lines:
            hub.connect(line, LOG, 0, None).pump()
        await append(store, 1)
        await until(lambda: all(line.positions == [1] for line in lines))
        for line in lines:
            line.ticks = line.ticks[-1:]
        await until(lambda: all(len(line.ticks) >= 3 for line in lines))
        for line in lines:
            assert [after - before for before, after in pairwise(line.ticks[:3])] == [HEARTBEAT] * 2
            assert line.written.count(b": heartbeat\n") >= 2


@pytest.mark.anyio
async def test_the_tail_is_woken_and_hardly_looks_by_itself(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "HEARING", 60)
    async with running(database) as (hub, store):
        looked, read = list[int](), store.read

        async def counted(after: int, limit: int) -> Any:
            looked.append(after)
            return await read(after, limit)

        line = connect(hub)
        await append(store, 1)
        await until(lambda: line.positions == [1])
        await asyncio.sleep(0.4)  # a look that was planned before the listener was connected
        monkeypatch.setattr(store, "read", counted)
        await asyncio.sleep(0.8)
        assert looked == []
        await append(store, 1)
        await until(lambda: line.positions == [1, 2])


@pytest.mark.anyio
async def test_watchers_of_other_streams_cost_an_event_nothing(database: str) -> None:
    async with running(database) as (hub, store):
        await append(store, 1)
        state: Any = SimpleNamespace(final=False)
        held = Held(state, 1, 1, now())
        for number in range(5_000):
            topic = LOG._replace(stream=f"user/none-{number}")
            hub.connect(Line(), topic, 0, held).live = True
        await append(store, 200)
        rows = await store.read(1, 200)
        entries = await hub.source.entries(rows)
        began = time.process_time()
        for entry in entries:
            hub.audience.concerned([entry])
            hub.audience.untold([entry])
        assert (time.process_time() - began) / len(entries) < 0.0005
