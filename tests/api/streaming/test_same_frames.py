"""Watchers get the same frames, byte for byte: live, catching up, after a reconnect, and from another server."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from threading import Barrier, Event, Thread
from typing import Any, NamedTuple

import httpx
import pytest

from tests.support.api_client import Executions
from tests.support.delivery_proof import send_all
from tests.support.running_server import Serving, serving
from tests.support.sse_client import opened
from tests.support.stream_consumers import JSON, NO_END, OURS, client, head, socket
from tests.support.waiting import join_while_it_moves

STATES = {"include": "execution"}
BACK = 300
"""Positions that a watcher goes back at most, as events are written all the time."""
MORE = 100
"""Events written beyond the last one that is read, as some events have no frame on a path."""


class Heard(NamedTuple):
    """One frame, with its text as it was received; `done` if it is the last one of its event."""

    type: str
    position: int
    done: bool
    said: str


Hear = Callable[[Serving, str, int, dict[str, str]], Iterator[Heard]]


def _parse(type_: str, said: str) -> Heard:
    frame = json.loads(said)
    return Heard(type_, frame["position"], "more" not in frame, said)


def over_a_websocket(
    server: Serving, path: str, cursor: int, query: dict[str, str]
) -> Iterator[Heard]:
    with socket(server, path, **{"from": cursor, **query}) as connected:
        while True:
            said = connected.recv(timeout=30)
            assert isinstance(said, str)
            yield _parse(json.loads(said)["type"], said)


def as_server_sent_events(
    server: Serving, path: str, cursor: int, query: dict[str, str]
) -> Iterator[Heard]:
    with client(server.url) as api, opened(api, path, after=cursor, **query) as source:
        for sse in source.iter_sse():
            yield _parse(sse.event, sse.data)


def until_caught_up(frames: Iterator[Heard]) -> list[Heard]:
    """The frames up to `caught-up`, without those about the stream itself."""
    read = []
    for frame in frames:
        if frame.type == "caught-up":
            break
        if frame.type not in OURS:
            read.append(frame)
    return read


class Watcher(Thread):
    """Reconnects after at most so many frames, until it has reached a position."""

    def __init__(self, visit: Callable[[int], Iterator[Heard]], begin: int, end: int, most: int):
        super().__init__(name="watcher", daemon=True)
        self.cursor = begin
        self.heard: list[Heard] = []
        self.arrived = False
        self._visit = visit
        self._end = end
        self._most = most

    def run(self) -> None:
        chance = random.Random(self._most)
        while self.cursor < self._end:
            self._hear(islice(self._visit(self.cursor), chance.randint(1, self._most)))
        self.arrived = True

    def _hear(self, frames: Iterator[Heard]) -> None:
        event: list[Heard] = []  # the connection may end after a part of its frames
        for frame in frames:
            if frame.type not in OURS:
                event.append(frame)
            if frame.done:
                self.heard += event
                event, self.cursor = [], frame.position
            if self.cursor >= self._end:
                return


def work(executions: Sequence[str]) -> Iterator[list[JSON]]:
    """Commands with much sealed content, and, in other requests, commands whose frames show it again."""
    for number in count(1):
        step = {"step": f"step-{number}"}
        words: list[JSON] = [
            {"command": "startStep", **step, "input": {"leads": number}},
            {"command": "checkpoint", "state": {"page": number}},
            {"command": "updateProgress", "progress": number % 100},
            {"command": "recordUsage", "apiCalls": 1},
            {"command": "completeStep", **step},
        ]
        for word in words:
            yield [{**word, "execution": execution} for execution in executions]


@contextmanager
def working(server: Serving, executions: Sequence[str], most: int | None = None) -> Iterator[None]:
    """Send commands, with short pauses, until the block ends or so many events are recorded."""
    stop = Event()
    rounds = None if most is None else most // len(executions) + 1

    def write() -> None:
        with client(server.url) as api:
            for commands in islice(work(executions), rounds):
                send_all(api, commands)
                if stop.wait(0.005):
                    return

    writer = Thread(target=write, name="writer")
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def later(server: Serving, path: str, begin: int, query: dict[str, str]) -> list[Heard]:
    """All frames of the past, from a server that was started later."""
    with serving(server.conninfo) as other:
        return until_caught_up(over_a_websocket(other, path, begin, query))


def between(heard: list[Heard], begin: int, end: int) -> list[str]:
    return [frame.said for frame in heard if begin < frame.position <= end]


@pytest.fixture
def workers(executions: Executions) -> list[str]:
    return [executions.running() for _ in range(3)]


@pytest.mark.parametrize("path", ["/executions/watch", "/executions/{}/watch"])
@pytest.mark.parametrize("query", [{}, STATES], ids=["frames", "states"])
def test_live_frames_equal_those_of_a_later_catch_up(
    server: Serving, workers: list[str], thorough: bool, path: str, query: dict[str, str]
) -> None:
    with server.client() as api:
        begin = head(api)
    many, path = 6_000 if thorough else 300, path.format(workers[0])
    end = begin + many
    watchers = [
        Watcher(lambda cursor, hear=hear: hear(server, path, cursor, query), begin, end, most)  # type: ignore[misc]  # a default binds it
        for hear in (over_a_websocket, as_server_sent_events)
        for most in (NO_END, 30, 31)
    ]
    # Write no more than is read: frames with states grow with the steps, and the log with each slow watcher.
    with working(server, workers, most=many + MORE):
        for watcher in watchers:
            watcher.start()
        for watcher in watchers:
            join_while_it_moves(watcher)
    assert all(watcher.arrived for watcher in watchers)
    truth = later(server, path, begin, query)
    for watcher in watchers:
        said = [frame.said for frame in watcher.heard]
        assert said == between(truth, begin, watcher.cursor)
        assert len(said) > 50


def test_simultaneous_watchers_of_one_execution_get_the_same_frames(
    server: Serving, workers: list[str], thorough: bool
) -> None:
    chance, many = random.Random(1), 8
    path = f"/executions/{workers[0]}/watch"
    with server.client() as api:
        begin = head(api)
        heard: list[tuple[int, list[Heard]]] = []
        with working(server, workers):
            for _ in range(30 if thorough else 5):
                together, end = Barrier(many), head(api)

                def come(cursor: int, together: Barrier = together) -> None:
                    together.wait()
                    frames = over_a_websocket(server, path, cursor, STATES)
                    heard.append((cursor, until_caught_up(frames)))

                cursors = [chance.randint(max(begin, end - BACK), end) for _ in range(many)]
                threads = [Thread(target=partial(come, cursor)) for cursor in cursors]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(60)
    assert len(heard) == many * (30 if thorough else 5)
    truth = later(server, path, begin, STATES)
    for cursor, frames in heard:
        end = frames[-1].position if frames else cursor
        assert [frame.said for frame in frames] == between(truth, cursor, end)


def test_state_in_a_frame_is_that_of_its_version(
    server: Serving, api: httpx.Client, workers: list[str]
) -> None:
    begin = head(api)
    frames = over_a_websocket(server, "/executions/watch", begin, STATES)
    assert next(frames).type == "caught-up"
    for commands in islice(work(workers), 15):
        send_all(api, commands)
    for frame in islice(frames, 20):
        shown: dict[str, Any] = json.loads(frame.said)
        execution, version = shown["execution"], shown["state"]["version"]
        asked = api.get(f"/executions/{execution}", params={"version": version})
        assert shown["state"] == asked.json()
