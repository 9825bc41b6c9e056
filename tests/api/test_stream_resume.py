"""Nothing is missed and nothing comes twice: however often a consumer goes and comes back, whatever
stops it, and however slowly it reads.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from threading import Event, Thread

import httpx
import pytest

from tests.api.conftest import Executions, ok
from tests.api.listening import frames, opened, positions, until_caught_up
from tests.api.serving import TOKEN, Serving, serving

TIMES = 200
SEED = 20261122


@contextmanager
def writing(server: Serving, executions: list[str]) -> Iterator[None]:
    """Somebody who records usage until the block ends."""
    stop = Event()
    commands = [
        {"command": "recordUsage", "execution": execution, "apiCalls": 1}
        for execution in executions
    ]

    def write() -> None:
        with server.client() as client:
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


def visits(api: httpx.Client, path: str, after: int, times: int, most: int) -> Iterator[list[int]]:
    """What each of many connections reads before it goes; each resumes where the last one was."""
    chance = random.Random(SEED)
    for _ in range(times):
        with opened(api, path, after=after) as source:
            read = list(islice(frames(source), chance.randint(1, most)))
        after = int(read[-1].id)
        yield positions(read)


def test_the_log_resumed_200_times_under_writes_has_no_hole_and_no_repeat(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    busy = [executions.running() for _ in range(5)]
    begin = int(ok(api.get("/readyz"))["position"])
    with writing(server, busy):
        read = [
            position for visit in visits(api, "/events", begin, TIMES, 40) for position in visit
        ]
    assert len(read) > TIMES
    assert read == list(range(begin + 1, begin + 1 + len(read)))


def test_one_execution_resumed_under_writes_is_told_as_its_history_has_it(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    busy = [executions.running() for _ in range(5)]
    path = f"/executions/{busy[0]}/events"
    with writing(server, busy):
        read = [position for visit in visits(api, path, 0, 60, 20) for position in visit]
    with opened(api, path) as source:
        whole = positions(until_caught_up(source))
    assert len(read) > 60
    assert read == whole[: len(read)]


def test_many_readers_of_one_log_all_read_the_same(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    busy = [executions.running() for _ in range(5)]
    begin = int(ok(api.get("/readyz"))["position"])
    heard: list[list[int]] = [[] for _ in range(8)]

    def listen(mine: list[int]) -> None:
        with server.client() as client:
            for visit in visits(client, "/events", begin, 10, 60):
                mine += visit

    listeners = [Thread(target=listen, args=[mine]) for mine in heard]
    with writing(server, busy):
        for listener in listeners:
            listener.start()
        for listener in listeners:
            listener.join()
    for mine in heard:
        assert mine == list(range(begin + 1, begin + 1 + len(mine)))


def test_a_server_that_stops_says_goodbye_and_the_next_one_goes_on(database: str) -> None:
    with serving(database) as first, first.client() as client:
        ok(client.post("/users", json={"name": "Ann", "kind": "person"}))
        with opened(client, **{"from": "start"}) as source:
            reading = frames(source)
            assert next(reading).type == "user.created"
            assert next(reading).type == "caught-up"
            first.ask_to_stop()
            (closing,) = reading
        assert closing.type == "closing"
        assert closing.retry is not None
        assert 0 < closing.retry <= 30_000
    with serving(database) as second, second.client() as client:
        ok(client.post("/users", json={"name": "Ben", "kind": "person"}))
        with opened(client, after=closing.id) as source:
            assert positions(until_caught_up(source)) == [2]


def test_a_consumer_that_does_not_read_is_cut_and_resumes_losing_nothing(
    server: Serving, api: httpx.Client, executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_sooner(server, monkeypatch)
    execution = executions.running()
    begin = int(ok(api.get("/readyz"))["position"])
    with socket.create_connection(("127.0.0.1", server.port)) as sleeper:
        sleeper.sendall(
            f"GET /api/events?from={begin} HTTP/1.1\r\nHost: localhost\r\n"
            f"Accept: text/event-stream\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        for _ in range(2):
            write_fourteen_megabytes(api, execution)
        until_nobody_listens(server)
        heard = whole_frames(sleeper)
    assert 0 < len(heard) < 280
    assert heard == list(range(begin + 1, begin + 1 + len(heard)))
    end = int(ok(api.get("/readyz"))["position"])
    with opened(api, after=heard[-1]) as source:
        assert positions(until_caught_up(source)) == list(range(heard[-1] + 1, end + 1))


def write_fourteen_megabytes(api: httpx.Client, execution: str) -> None:
    """More than what lies between a server and a client that does not read."""
    state = {"page": "x" * 100_000}
    save = {"command": "checkpoint", "execution": execution, "state": state}
    answer = api.post("/commands", json=[save] * 140)
    assert {outcome["status"] for outcome in answer.json()} == {200}


def cut_sooner(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not read is cut after a second instead of thirty."""
    wheel = server.system.hub.wheel
    monkeypatch.setattr(wheel, "second", 0.05)
    monkeypatch.setattr(wheel, "stalled", 1.0)


def until_nobody_listens(server: Serving) -> None:
    """Wait until the server has no stream left."""
    with server.client() as client:
        for _ in range(300):
            if "\nexecutions_streams 0.0" in client.get("/metrics").text:
                return
            time.sleep(0.1)
    pytest.fail("the stream of a consumer that does not read is still open")


def whole_frames(sleeper: socket.socket) -> list[int]:
    """The positions of the frames that came whole before the connection was cut."""
    received = b""
    with suppress(ConnectionError):
        while part := sleeper.recv(65_536):
            received += part
    whole = received[: received.rfind(b"\n\n") + 2]
    return [
        json.loads(line.removeprefix(b"data: "))["position"]
        for line in whole.splitlines()
        if line.startswith(b'data: {"specversion"')
    ]
