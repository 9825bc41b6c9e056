"""A hub without a network, and subscribers whose connections are objects of the test."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from api.clock import Clock
from api.streaming.encoding import ENCODERS, SSE
from api.streaming.filter import Filter
from api.streaming.frames import EVENTS
from api.streaming.hub import Hub
from api.streaming.subscriber import Subscriber
from api.streaming.topic import Topic
from api.system import new_hub
from domain.catalog.user import UserCreated
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.store import Store
from domain.model import Recorded
from tests.support.event_writer import opened

LOG = Topic(ENCODERS[EVENTS, SSE], "", Filter())


class Line:
    """A connection that accepts all writes, or none."""

    def __init__(self) -> None:
        self.subscriber: Subscriber | None = None
        self.paused = False
        self.gone = False
        self.written = b""
        self.cut_with: int | None = None

    def write(self, data: bytes) -> None:
        self.written += data

    def write_raw(self, data: bytes) -> None:
        self.write(data)

    def cut(self, code: int, reason: str) -> None:
        self.cut_with = code

    def resume(self) -> None:
        self.paused = False
        assert self.subscriber is not None
        self.subscriber.unblock()

    @property
    def positions(self) -> list[int]:
        return [int(found) for found in re.findall(rb'"position":(\d+),"version"', self.written)]

    @property
    def controls(self) -> list[str]:
        names = re.findall(rb"event: ([a-z-]+)\n(?:retry: \d+\n)?data: {\"position", self.written)
        return [name.decode() for name in names]


async def append(store: Store, count: int) -> None:
    """Append events, each in a stream of its own."""
    async with store.transaction() as transaction:
        first, at = transaction.position + 1, Clock()()
        event = UserCreated(name="Ann", kind="person")
        rows = [
            store.codec.encode(Recorded(f"user/u-{place}", 1, place, at, event, "tests"), None)
            for place in range(first, first + count)
        ]
        await transaction.append(rows, (), at)


@asynccontextmanager
async def running(conninfo: str) -> AsyncIterator[tuple[Hub, Store]]:
    async with opened(conninfo) as store:
        listener = Listener(conninfo, "executions")
        hub = new_hub(store, listener, "executions", 10_000)
        listener.start()
        hub.start()
        try:
            yield hub, store
        finally:
            await hub.stop()
            await listener.stop()


def connect(hub: Hub, cursor: int = 0, topic: Topic = LOG) -> Line:
    line = Line()
    hub.connect(line, topic, cursor, None).start()
    return line


async def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while True:
        if reached():
            return
        assert time.monotonic() < deadline, "it has not come true"
        await asyncio.sleep(0.01)
