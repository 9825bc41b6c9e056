"""A stateful property test of a hub in memory: each subscriber receives exactly the matching events after
its cursor, in order, once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, TypeVar, cast

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from api.streaming import cooperative, feed
from api.streaming import filter as filters
from api.streaming.close_codes import DONE
from api.streaming.encoding import ENCODERS, SSE
from api.streaming.frames import EVENTS, EVENTS_WITH_STATE, Format
from api.streaming.hub import Hub
from api.streaming.log import page_cache, retrying
from api.streaming.phase import TABLE, TRANSITIONS, Phase
from api.streaming.subscriber import Subscriber
from api.streaming.topic import KnownStream, Topic
from domain.eventlog.codec import EventRow
from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.lifecycle import ExecutionCompleted
from domain.execution.events.progress import ProgressUpdated
from domain.execution.types import ExecutionResult
from tests.support.examples import at_most
from tests.support.memory_log import MemoryLog, MemoryTail, created

T = TypeVar("T")
STREAMS = [f"execution/e-{number}" for number in range(3)]
SMALL: dict[ModuleType, dict[str, float]] = {
    cooperative: {"LONGEST_TURN": 0.0},
    page_cache: {"SIZE": 8, "RETRY_PAUSE": 0.001, "RECENT_BYTES": 1, "PAST_BYTES": 1},
    feed: {"SIZE": 8, "STRIDE": 3, "PUBLISHED_AT_ONCE": 5, "WRITES_PER_PAUSE": 1},
    retrying: {"OUTAGE_PAUSE": 0.001, "ERROR_PAUSE": 0.001},
}
"""Small sizes, so that a short run has many transitions."""


class StreamQuery(NamedTuple):
    """The topic of a subscriber, and the rows that it matches."""

    topic: Topic
    matches: Callable[[EventRow], bool]

    def __repr__(self) -> str:
        topic = self.topic
        return f"Wanted({topic.encoder.format.name}, {topic.stream!r}, {topic.filter})"


def query_for(
    format_: Format, matches: Callable[[EventRow], bool], stream: str = "", **asked: str
) -> StreamQuery:
    types = asked.pop("types", None)
    return StreamQuery(
        Topic(ENCODERS[format_, SSE], stream, filters.read(types, asked.items())), matches
    )


WANTED = [
    query_for(EVENTS, lambda _: True),
    query_for(EVENTS_WITH_STATE, lambda _: True),
    query_for(EVENTS, lambda row: row.type == "execution.progress", types="progress"),
    query_for(EVENTS, lambda row: row.stream == STREAMS[0], customer="acme"),
    query_for(EVENTS, lambda row: row.stream == STREAMS[1], tag="eu"),
    query_for(EVENTS, lambda row: row.stream == STREAMS[0], STREAMS[0]),
    query_for(EVENTS_WITH_STATE, lambda row: row.stream == STREAMS[1], STREAMS[1]),
    query_for(
        EVENTS,
        lambda row: row.type == "execution.progress" and row.stream == STREAMS[2],
        STREAMS[2],
        types="progress",
    ),
]


class Broken(RuntimeError):
    """The transport fails."""


@dataclass(eq=False, repr=False)
class Client:
    """A transport, with the frames that its client has received since it connected or made a seek."""

    wanted: StreamQuery
    begin: int
    subscriber: Subscriber | None = None
    paused: bool = False
    broken: bool = False
    gone: bool = False
    written: bytes = b""

    def write(self, data: bytes) -> None:
        if self.broken:
            raise Broken
        self.written += data

    def write_raw(self, data: bytes) -> None:
        self.write(data)

    def cut(self, code: int, reason: str) -> None:
        """The transport is gone."""

    def __repr__(self) -> str:
        return f"Client({self.begin}, {self.one.phase}, received={self.positions})"

    @property
    def one(self) -> Subscriber:
        assert self.subscriber is not None
        return self.subscriber

    @property
    def positions(self) -> list[int]:
        return [int(found) for found in re.findall(rb'"position":(\d+),"version"', self.written)]

    @property
    def cursor(self) -> int:
        """The position from which the client resumes."""
        ids = re.findall(rb"^id: (\d+)$", self.written, re.MULTILINE)
        return int(ids[-1]) if ids else self.begin

    @property
    def ended(self) -> bool:
        return self.one.done.done()


class Subscribers(RuleBasedStateMachine):
    """A hub, a log and clients; `turn` runs the event loop a little between other rules."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for module, values in SMALL.items():
            for name, value in values.items():
                self.patch.setattr(module, name, value)
        self.loop = asyncio.new_event_loop()
        self.log = MemoryLog()
        self.clients: list[Client] = []
        self.completed: dict[str, int] = {}
        for number, stream in enumerate(STREAMS):
            self.log.write(stream, created("eu" if number == 1 else "us"))
        self.run(self.begin())

    async def begin(self) -> None:
        self.tail = MemoryTail(self.log)
        self.hub = Hub(self.tail, self.log, cast(Any, SimpleNamespace()), 1_000)
        self.hub.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    # --- rules

    @rule(
        which=st.sampled_from(WANTED),
        share=st.floats(0, 1),
        speed=st.sampled_from([None, 1e6]),
        count=st.sampled_from([1, 1, 5]),
    )
    def connect(self, which: StreamQuery, share: float, speed: float | None, count: int) -> None:
        self.log.away = False
        for _ in range(count):
            self.run(self._connect(which, round(share * self.hub.position), speed))

    async def _connect(self, which: StreamQuery, cursor: int, speed: float | None = None) -> None:
        stream = which.topic.stream
        versioned = await self.log.state(stream) if stream else None
        client = Client(which, min(cursor, self.hub.position))
        one = self.hub.connect(client, which.topic, client.begin, KnownStream.of(versioned))
        one.play(speed)
        one.start()
        self.clients.append(client)

    @rule(stream=st.sampled_from(STREAMS), count=st.integers(1, 12))
    def write(self, stream: str, count: int) -> None:
        for number in range(count):
            self.log.write(
                stream,
                ExecutionUpdated(tags=("eu",) if stream == STREAMS[1] else ())
                if stream in self.completed
                else ProgressUpdated(progress=number),
            )

    @rule(stream=st.sampled_from(STREAMS))
    def complete(self, stream: str) -> None:
        if stream not in self.completed:
            result = ExecutionResult(success=True, output=None, summary="")
            event = ExecutionCompleted(success=True, result=result)
            self.completed[stream] = self.log.write(stream, event)

    @rule(share=st.floats(0, 1))
    def publish(self, share: float) -> None:
        seen, end = self.tail.seen, len(self.log.rows)
        self.tail.see(seen + round(share * (end - seen)))

    @rule()
    def publish_all(self) -> None:
        self.tail.wake()

    @rule(stream=st.sampled_from(STREAMS), turns=st.integers(1, 8))
    def write_and_publish(self, stream: str, turns: int) -> None:
        """While pages are being read for other subscribers."""
        self.run(self._turn(turns))
        self.write(stream, 1)
        self.tail.wake()
        self.run(self._turn(turns))

    @rule(turns=st.integers(1, 30))
    def turn(self, turns: int) -> None:
        self.run(self._turn(turns))

    async def _turn(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    @rule(away=st.booleans())
    def database(self, away: bool) -> None:
        self.log.away = away

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        self.act(self.any(data).one.pause)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        self.act(self.any(data).one.resume)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), share=st.floats(0, 1))
    def seek(self, data: st.DataObject, share: float) -> None:
        client = self.any(data)

        def seek() -> None:
            if client.ended:
                return  # messages after the end are ignored
            client.begin, client.written = round(share * self.hub.position), b""
            client.one.seek(client.begin)

        self.act(seek)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def block(self, data: st.DataObject) -> None:
        self.any(data).paused = True

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def unblock(self, data: st.DataObject) -> None:
        client = self.any(data)
        client.paused = False
        self.act(client.one.unblock)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def return_to_catch_up(self, data: st.DataObject) -> None:
        self.act(self.any(data).one.return_to_catch_up)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """Its next write fails; its client reconnects once it has ended."""
        self.any(data).broken = True

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """The client leaves."""
        client = self.any(data)
        self.act(lambda: self.hub.disconnect(client.one))
        self.clients.remove(client)

    def any(self, data: st.DataObject) -> Client:
        return data.draw(st.sampled_from(self.clients))

    def act(self, what: Callable[[], None]) -> None:
        async def inside() -> None:
            what()

        self.run(inside())

    # --- invariants

    @invariant()
    def each_client_has_received_the_matching_events_in_order_and_once(self) -> None:
        for client in self.clients:
            received = client.positions
            assert received == self.expected(client)[: len(received)]

    @invariant()
    def phases_are_consistent(self) -> None:
        for client in self.clients:
            one = client.one
            assert one.live == (one in one.group.live)
            assert one.done.done() == (one.phase is Phase.ENDED)
            if one.phase is not Phase.CATCHING_UP and one.phase is not Phase.BLOCKED:
                assert one._task is None

    def expected(self, client: Client) -> list[int]:
        return [row.position for row in self.log.rows[client.begin :] if client.wanted.matches(row)]

    def teardown(self) -> None:
        try:
            self.run(self._settle())
            for client in self.clients:
                self.require_all_received(client)
        finally:
            self.run(self.hub.stop())
            for client in self.clients:
                self.act(lambda client=client: self.hub.disconnect(client.one))  # type: ignore[misc]
            self.loop.close()
            self.patch.undo()

    async def _settle(self) -> None:
        """Unblock all transports, and reconnect the clients whose transport broke."""
        self.log.away = False
        self.tail.wake()
        for _ in range(400):
            for client in [each for each in self.clients if each.broken and each.ended]:
                self.clients.remove(client)
                self.hub.disconnect(client.one)
                if not self.has_seen_the_end(client):
                    await self._connect(client.wanted, client.cursor)
            for client in self.clients:
                if client.paused:
                    client.paused = False
                    client.one.unblock()
                if client.one.phase is Phase.PAUSED:
                    client.one.resume()
            await asyncio.sleep(0.001)
            if all(client.ended or self.is_live_at_the_end(client) for client in self.clients):
                return

    def is_live_at_the_end(self, client: Client) -> bool:
        end = len(self.log.rows)
        return client.one.live and client.one.published.swept == end

    def has_seen_the_end(self, client: Client) -> bool:
        """Whether its execution has ended before its cursor."""
        stream = client.wanted.topic.stream
        return stream in self.completed and client.cursor >= self.completed[stream]

    def require_all_received(self, client: Client) -> None:
        if client.broken and client.ended:
            return
        if client.ended:
            assert client.one.done.result().code == DONE
            final = self.completed[client.wanted.topic.stream]
            assert [p for p in client.positions if p <= final] == [
                p for p in self.expected(client) if p <= final
            ]
        else:
            assert client.one.live
            assert client.positions == self.expected(client)


TestSubscribers = Subscribers.TestCase
TestSubscribers.settings = at_most(60, stateful_step_count=40, deadline=None)


def test_table_has_the_result_of_each_transition_in_each_phase() -> None:
    assert len(TRANSITIONS) == len(TABLE.strip().splitlines()) - 1
    for what, after in TRANSITIONS.items():
        assert after.keys() == set(Phase)
        assert after[Phase.ENDED] is (None if what == "arrive" else Phase.ENDED)
    assert {
        what for what, after in TRANSITIONS.items() if after[Phase.PAUSED] is Phase.CATCHING_UP
    } == {"resume", "seek"}
