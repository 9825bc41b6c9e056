"""Consumers over both transports: they read frames, keep their cursor, and prove what they saw."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice
from threading import Event, Thread, get_ident
from typing import Any
from urllib.parse import urlencode

import httpx
from httpx_sse import connect_sse
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.api.serving import AUTHORIZED, Serving

JSON = dict[str, Any]
OURS = {"checkpoint", "caught-up", "fell-behind", "closing"}
BIG = 2**24


@contextmanager
def socket(
    server: Serving, path: str, headers: Any = None, **query: Any
) -> Iterator[ClientConnection]:
    """An open WebSocket of the administrator's."""
    where = f"{server.url.replace('http', 'ws')}/api{path}?{urlencode(query)}"
    given = AUTHORIZED if headers is None else headers
    # Without a bound on what is queued: this client cannot close while its queue is full.
    with connect(where, additional_headers=given, max_size=BIG, max_queue=None) as opened:
        yield opened


def heard(opened: ClientConnection) -> Iterator[JSON]:
    """Every frame until the server closes."""
    while True:
        try:
            frame: JSON = json.loads(opened.recv(timeout=30))
        except ConnectionClosed:
            return
        yield frame


def until_caught_up(frames: Iterator[JSON]) -> list[JSON]:
    """The frames before the one that says that the past is done."""
    read = []
    for frame in frames:
        if frame["type"] == "caught-up":
            break
        read.append(frame)
    return read


def past(server: Serving, path: str, **query: Any) -> list[JSON]:
    """What a WebSocket says of the past, our own frames left out."""
    with socket(server, path, **query) as opened:
        return [frame for frame in until_caught_up(heard(opened)) if frame["type"] not in OURS]


def by_socket(server: Serving, path: str, cursor: int, most: int, **query: Any) -> Iterator[JSON]:
    """Some frames after a cursor, over a WebSocket."""
    with socket(server, path, **{"from": cursor, **query}) as opened:
        yield from islice(heard(opened), most)


@cache
def _client(server: Serving, thread: int) -> httpx.Client:
    return server.client()  # making one takes longer than a visit


def by_sse(server: Serving, path: str, cursor: int, most: int, **query: Any) -> Iterator[JSON]:
    """Some frames after a cursor, as server-sent events; each with its `type` and its own id."""
    headers = {"Last-Event-ID": str(cursor)}
    client = _client(server, get_ident())
    with connect_sse(client, "GET", path, headers=headers, params=query) as source:
        assert source.response.status_code == 200, source.response.read()
        for sse in islice(source.iter_sse(), most):
            yield {**json.loads(sse.data), "type": sse.event}


class Consumer(Thread):
    """Goes and comes back at random, to any of some servers, until it has reached a position.

    It proves what it saw while it sees it: positions increase, by one where nothing is filtered.
    """

    def __init__(
        self, servers: list[Serving], read: Any, begin: int, end: int, *, seed: int, most: int
    ) -> None:
        super().__init__(name=f"consumer {seed}")
        self.cursor = begin
        self.seen: list[int] = []
        self.visits = 0
        self.failure: BaseException | None = None
        self._servers = servers
        self._read = read
        self._end = end
        self._chance = random.Random(seed)
        self._most = most

    def run(self) -> None:
        try:
            while self.cursor < self._end:
                self._visit(self._chance.choice(self._servers))
        except BaseException as error:
            self.failure = error
            raise

    def _visit(self, server: Serving) -> None:
        self.visits += 1
        most = self._chance.randint(1, self._most)
        for frame in self._read(server, "/events", self.cursor, most, format="events"):
            if frame["type"] not in OURS:
                assert frame["position"] == self.cursor + 1
                self.seen.append(frame["position"])
            assert frame["position"] >= self.cursor
            self.cursor = frame["position"]
            if self.cursor >= self._end:
                return


@contextmanager
def writing(client: httpx.Client, executions: list[str], at_once: int = 20) -> Iterator[None]:
    """Somebody who records usage until the block ends."""
    stop = Event()
    commands = [
        {"command": "recordUsage", "execution": execution, "apiCalls": 1}
        for execution in executions * at_once
    ]

    def write() -> None:
        while not stop.is_set():
            answer = client.post("/commands", json=commands)
            assert {outcome["status"] for outcome in answer.json()} == {200}

    writer = Thread(target=write, name="writer")
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()
