"""When one connection fails, all others still get their heartbeats and every event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from api.streaming import filter as filters
from api.streaming.close_codes import DONE, FAULT, SLOW
from api.streaming.hub import Hub
from api.system import new_hub
from domain.eventlog.connection.notifications import Listener
from domain.execution.events.lifecycle import ExecutionCompleted
from domain.execution.types import ExecutionResult
from tests.support import sample_aggregate
from tests.support.hub import LOG, Line, append, connect, running, until
from tests.support.memory_log import MemoryLog, MemoryTail, created


class Broken(Line):
    """A line that fails when a heartbeat is written to it."""

    def write(self, data: bytes) -> None:
        if b": heartbeat" in data:
            raise RuntimeError("broken")
        super().write(data)


@pytest.mark.anyio
async def test_failing_connection_ends_and_others_get_their_heartbeats(
    database: str,
) -> None:
    async with running(database) as (hub, store):
        hub.heartbeat.second = 0.01
        with structlog.testing.capture_logs() as logs:
            broken, whole = hub.connect(Broken(), LOG, 0, None), connect(hub)
            broken.start()
            await until(lambda: whole.written.count(b": heartbeat\n") >= 2)
        assert broken.done.result().code is None
        assert [line["event"] for line in logs].count("heartbeat failed") == 1
        await append(store, 3)
        await until(lambda: whole.positions == [1, 2, 3])


class Mute(Line):
    """A line that fails when the hub closes it."""

    def write(self, data: bytes) -> None:
        if b"closing" in data:
            raise RuntimeError("broken")
        super().write(data)

    def cut(self, code: int, reason: str) -> None:
        raise RuntimeError("broken")


@pytest.mark.anyio
@pytest.mark.parametrize("end", [Hub.close, Hub.stop])
async def test_connection_that_fails_at_closing_does_not_stop_the_others(
    database: str, monkeypatch: pytest.MonkeyPatch, end: Callable[[Hub], Awaitable[None] | None]
) -> None:
    monkeypatch.setattr("api.streaming.hub.CLOSING_TIMEOUT", 0.05)
    async with running(database) as (hub, _):
        mutes, others = [Mute() for _ in range(5)], []
        for mute in mutes:
            hub.connect(mute, LOG, 0, None).start()
            others.append(connect(hub))
        await until(lambda: all(line.controls == ["caught-up"] for line in (*mutes, *others)))
        try:
            if (ended := end(hub)) is not None:
                await ended
            await until(lambda: all(line.controls[1:] == ["closing"] for line in others))
            if end is Hub.close:
                await until(lambda: all(line.cut_with == SLOW for line in others))
        finally:
            for line in mutes:
                assert line.subscriber is not None
                hub.disconnect(line.subscriber)


async def test_hub_may_be_closed_before_it_has_started(database: str) -> None:
    store = sample_aggregate.store(database)
    hub = new_hub(store, Listener(database, "executions"), "executions", 10)
    assert not hub.full
    hub.close()
    assert hub.full


class Closed(Line):
    """A line that was closed without a message to the hub."""

    closed = False

    def write(self, data: bytes) -> None:
        if self.closed:
            raise RuntimeError("the handler is closed")
        super().write(data)


@pytest.mark.anyio
async def test_other_subscribers_get_every_event_although_a_connection_is_unwritable(
    database: str,
) -> None:
    async with running(database) as (hub, store):
        closed = [Closed() for _ in range(5)]
        others = []
        for line in closed:
            hub.connect(line, LOG, 0, None).start()
            others.append(connect(hub))
        await append(store, 1)
        await until(lambda: all(line.positions == [1] for line in (*closed, *others)))
        for line in closed:
            line.closed = True
        await append(store, 2)
        await append(store, 2)
        await until(lambda: all(line.positions[-1:] == [5] for line in others))
        assert [line.positions for line in others] == [[1, 2, 3, 4, 5]] * 5
        for line in closed:
            assert line.subscriber is not None
            hub.disconnect(line.subscriber)


@pytest.mark.anyio
async def test_connection_that_fails_as_its_execution_ends_is_cut_and_others_end() -> None:
    log, stream = MemoryLog(), "execution/e-1"
    log.write(stream, created("eu"))
    tail = MemoryTail(log)
    hub = Hub(tail, log, cast(Any, SimpleNamespace()), 10)
    hub.heartbeat.second = 3_600  # no heartbeat detects it
    hub.start()
    # The filter leaves out the end, so that only a checkpoint is written for it.
    topic = LOG._replace(stream=stream, filter=filters.read("progress", []))
    lines = [Line(), closed := Closed(), Line()]
    connected = [hub.connect(line, topic, 0, None) for line in lines]
    try:
        tail.wake()
        for subscriber in connected:
            subscriber.start()
        await until(lambda: all(subscriber.live for subscriber in connected))
        closed.closed = True
        result = ExecutionResult(success=True, output=None, summary="")
        log.write(stream, ExecutionCompleted(success=True, result=result))
        tail.wake()
        await until(lambda: all(subscriber.done.done() for subscriber in connected))
        assert [one.done.result().code for one in connected] == [DONE, None, DONE]
        assert [line.cut_with for line in lines] == [None, FAULT, None]
    finally:
        await hub.stop()
