"""After a seek the events behind the new position follow, even if a page was being read or events are written."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection

from api.streaming.encoding import ENCODERS, SSE
from api.streaming.filter import Filter
from api.streaming.frames import EVENTS
from api.streaming.subscriber import Subscriber
from api.streaming.topic import KnownStream, Topic
from domain.errors import Overloaded
from tests.support.api_client import Executions
from tests.support.delivery_proof import write_usage
from tests.support.event_writer import started
from tests.support.hub import Line, until
from tests.support.progress_events import progressed
from tests.support.running_server import Serving
from tests.support.stream_consumers import OURS, head, socket
from tests.support.watched_log import Running, running

TOPIC = Topic(ENCODERS[EVENTS, SSE], "execution/e-0", Filter())
STORY = (1, *range(4, 26))
"""The positions of the events of `execution/e-0`."""


@pytest.fixture
async def house(database: str) -> AsyncIterator[Running]:
    """A hub that follows a log with the events at `STORY`."""
    async with running(database) as house:
        await house.log.write([*started("e-0"), *progressed(*range(20))])
        await house.hub.head()
        yield house


async def reader(house: Running, begin: int) -> tuple[Line, Subscriber]:
    """A subscriber that has requested the events after a position, and has received none yet."""
    line = Line()
    versioned = await house.hub.loader.state(TOPIC.stream)
    connection = house.hub.connect(line, TOPIC, begin, KnownStream.of(versioned))
    connection.start()
    return line, connection


async def told_after(line: Line, connection: Subscriber, to: int) -> list[int]:
    """Seek; return the positions received until it has caught up."""
    before, caught_up = len(line.positions), line.controls.count("caught-up")
    connection.seek(to)
    await until(lambda: line.controls.count("caught-up") > caught_up)
    return line.positions[before:]


def following(position: int) -> list[int]:
    return [place for place in STORY if place > position]


@pytest.mark.anyio
@pytest.mark.parametrize(("begin", "to"), [(20, 0), (20, 5), (0, 20)])
async def test_page_requested_before_a_seek_is_dropped(house: Running, begin: int, to: int) -> None:
    for tenths in range(30):
        line, connection = await reader(house, begin)
        await asyncio.sleep(tenths / 10_000)
        assert await told_after(line, connection, to) == following(to)
        house.hub.disconnect(connection)


@pytest.mark.anyio
async def test_query_that_failed_before_a_seek_is_not_repeated(
    house: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = list[object]()

    async def away(places: object) -> Any:
        failures.append(places)
        raise Overloaded

    with monkeypatch.context() as patch:
        patch.setattr(house.hub.loader.pages, "_fetch", away)
        line, connection = await reader(house, 20)
        await until(lambda: bool(failures))
        await asyncio.sleep(0)
    assert await told_after(line, connection, 0) == list(STORY)
    await asyncio.sleep(0.5)
    assert line.positions == list(STORY)


def numbers(connected: ClientConnection, count: int) -> list[int]:
    """The positions of the next frames of events."""
    read = list[int]()
    while len(read) < count:
        frame = json.loads(connected.recv(timeout=10))
        if frame["type"] not in OURS:
            read.append(frame["position"])
    return read


def seek_back(connected: ClientConnection, to: int, expected: int) -> None:
    """Seek back; until the seek takes effect, only the expected next events may be received."""
    connected.send(json.dumps({"seek": to}))
    while (place := numbers(connected, 1)[0]) != to + 1:
        assert place == expected, "neither the next event nor the one after the seek"
        expected += 1


def run(first: int, count: int) -> Sequence[int]:
    return list(range(first, first + count))


@pytest.mark.parametrize("path", ["/events", "/executions/{}/events"])
def test_random_seeks_during_writes_lose_and_repeat_no_event(
    server: Serving,
    api: httpx.Client,
    executions: Executions,
    thorough: bool,
    path: str,
) -> None:
    chance, execution = random.Random(path), executions.running()
    begin = last = head(api)
    with (
        write_usage([server], [execution]),
        socket(server, path.format(execution), **{"from": begin}) as connected,
    ):
        for _ in range(1_000 if thorough else 40):
            if last > begin:
                to = chance.randrange(begin, last)
                seek_back(connected, to, last + 1)
                last = to + 1
            count = chance.choice((0, 1, 10, 150, 400))
            assert numbers(connected, count) == run(last + 1, count)
            last += count
