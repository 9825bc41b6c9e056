"""Proves a stream: positions increase, no matching event is missing, and none comes twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from threading import Event, Thread
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.support.stream_consumers import JSON, OURS, Door, client, past
from tests.support.waiting import join_while_it_moves

LOST = (httpx.TransportError, OSError, ConnectionClosed, InvalidHandshake)
"""The exceptions that clients raise after a server has died."""
PAUSE = 0.1
"""Seconds before a consumer returns to a server that has died."""
Read = Callable[..., Iterator[JSON]]


class Consumer(Thread):
    """Connects and disconnects at random, to any of some servers, until it has reached a position.

    `mortal` means that the servers may die: the consumer then reconnects, too.
    """

    def __init__(
        self,
        doors: Sequence[Door],
        read: Read,
        begin: int,
        end: int,
        *,
        seed: int,
        most: int,
        path: str = "/events",
        mortal: bool = False,
        **query: Any,
    ) -> None:
        super().__init__(name=f"consumer {seed}", daemon=True)
        self.cursor = begin
        self.end = end
        self.seen: list[int] = []
        self.visits = 0
        self.failure: BaseException | None = None
        self._doors = doors
        self._read = read
        self._ask = {"path": path, **query}
        self._chance = random.Random(seed)
        self._most = most
        self._forgiven = LOST if mortal else ()

    def run(self) -> None:
        try:
            while self.cursor < self.end:
                self.visits += 1
                try:
                    self._visit(self._chance.choice(self._doors))
                except self._forgiven:
                    time.sleep(PAUSE)
        except BaseException as error:
            self.failure = error
            raise

    def _visit(self, door: Door) -> None:
        most = self._chance.randint(1, self._most)
        for frame in self._read(door, cursor=self.cursor, most=most, **self._ask):
            if frame["type"] in OURS:
                assert frame["position"] >= self.cursor
            else:
                assert frame["position"] > self.cursor
                self.seen.append(frame["position"])
            self.cursor = frame["position"]
            if self.cursor >= self.end:
                return


def prove(
    consumers: Sequence[Consumer],
    door: Door,
    begin: int,
    matches: Callable[[JSON], bool] = lambda _: True,
    meanwhile: Callable[[], int] | None = None,
) -> None:
    """Run the consumers, and check that each got all matching events of the log, in order, and once.

    `meanwhile` is called while they run, and returns the position at which they may stop.
    """
    for consumer in consumers:
        consumer.start()
    end = meanwhile() if meanwhile else None
    for consumer in consumers:
        consumer.end = consumer.end if end is None else end
        join_while_it_moves(consumer)
        assert consumer.failure is None
        assert consumer.cursor >= consumer.end, "it has not arrived"
    log = past(door, "/events", **{"from": begin})
    assert [event["position"] for event in log] == list(range(begin + 1, begin + 1 + len(log)))
    matching = [event["position"] for event in log if matches(event)]
    for consumer in consumers:
        assert consumer.seen == [place for place in matching if place <= consumer.cursor]


def send_all(api: httpx.Client, commands: Sequence[JSON]) -> None:
    """Send many commands at once; those refused temporarily (503) are repeated."""
    while commands:
        response = api.post("/commands", json=commands)
        if response.status_code == 503:
            time.sleep(0.2)
            continue
        outcomes = response.json()
        statuses = [outcome["status"] for outcome in outcomes]
        assert set(statuses) <= {200, 503}
        again = zip(commands, statuses, strict=True)
        commands = [command for command, status in again if status == 503]


@contextmanager
def write_usage(
    doors: Sequence[Door],
    executions: Sequence[str],
    at_once: int = 20,
    *,
    pause: float = 0,
    mortal: bool = False,
) -> Iterator[None]:
    """A thread for each server that records usage until the block ends, with this many seconds after each."""
    stop = Event()
    commands = [
        {"command": "recordUsage", "execution": execution, "apiCalls": 1}
        for execution in chain.from_iterable(repeat(executions, at_once))
    ]

    def write(door: Door) -> None:
        with client(door.url) as writer:
            while not stop.is_set():
                with suppress(*LOST if mortal else ()):
                    send_all(writer, commands)
                stop.wait(pause)

    writers = [Thread(target=write, args=[door], name="writer") for door in doors]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        stop.set()
        for writer in writers:
            writer.join()
