"""Consumers that come and go at random, in crowds, to one server or another, and never lose anything."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.streams.hub import Hub
from tests.api.conftest import Executions, ok
from tests.api.serving import AUTHORIZED, Serving, serving
from tests.streams.consumers import (
    JSON,
    Consumer,
    by_socket,
    by_sse,
    heard,
    socket,
    until_caught_up,
    writing,
)

Read = Callable[..., Iterator[JSON]]
BROWSER = {"Accept": "text/event-stream", "User-Agent": "Mozilla/5.0"}


def head(api: httpx.Client) -> int:
    return int(ok(api.get("/readyz"))["position"])


def prove(consumers: list[Consumer], begin: int) -> None:
    """All of them saw every position after `begin`, once and in order."""
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join(120)
        assert consumer.failure is None
        assert consumer.seen == list(range(begin + 1, begin + 1 + len(consumer.seen)))


@pytest.mark.parametrize("read", [by_sse, by_socket])
def test_random_disconnects_under_writes_lose_and_double_nothing(
    server: Serving, api: httpx.Client, executions: Executions, thorough: bool, read: Read
) -> None:
    begin = head(api)
    end = begin + (20_000 if thorough else 1_200)
    consumers = [
        Consumer([server], read, begin, end, seed=seed, most=80 if thorough else 40)
        for seed in range(4)
    ]
    with server.client() as client, writing(client, [executions.running()]):
        prove(consumers, begin)
    assert sum(consumer.visits for consumer in consumers) > (1_000 if thorough else 100)


def test_consumers_move_between_two_servers_of_one_log(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    begin = head(api)
    with serving(server.conninfo) as other, ExitStack() as stack:
        for writer in (server, other):
            client = stack.enter_context(writer.client())
            stack.enter_context(writing(client, [executions.running()], 5))
        reads = (by_sse, by_socket, by_sse)
        prove(
            [
                Consumer([server, other], read, begin, begin + 1_000, seed=seed, most=60)
                for seed, read in enumerate(reads)
            ],
            begin,
        )


async def _come_and_go(server: Serving, times: int) -> None:
    request = (
        f"GET /api/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        f"Authorization: {AUTHORIZED['Authorization']}\r\n\r\n"
    ).encode()

    async def visit() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        await reader.readuntil(b"caught-up")
        writer.close()

    for _ in range(times // 50):
        await asyncio.gather(*(visit() for _ in range(50)))


def remaining(hub: Hub) -> int:
    deadline = time.monotonic() + 10
    while hub.open and time.monotonic() < deadline:
        time.sleep(0.02)
    return hub.open


def test_thousands_who_come_and_go_leave_nothing_behind(server: Serving, thorough: bool) -> None:
    hub = server.system.hub
    asyncio.run(_come_and_go(server, 500))
    assert remaining(hub) == 0
    gc.collect()
    before = len(gc.get_objects())
    asyncio.run(_come_and_go(server, 20_000 if thorough else 1_000))
    assert remaining(hub) == 0
    gc.collect()
    assert hub._groups == {}
    assert sum(map(len, hub.wheel._slots)) == 0
    assert len(gc.get_objects()) - before < 2_000


def test_there_is_no_place_beyond_the_limit_and_each_kind_of_client_is_told_in_its_way(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.system.hub, "limit", 1)
    with socket(server, "/events") as opened:
        until_caught_up(heard(opened))
        with server.client() as client:
            refused = client.get("/events", headers={"Accept": "text/event-stream"})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            browser = client.get("/events", headers=BROWSER)
            assert browser.status_code == 200
            assert browser.headers["content-type"].startswith("text/event-stream")
            assert 5_000 <= int(browser.text.removeprefix("retry: ")) <= 15_000
        with pytest.raises(InvalidStatus) as closed, socket(server, "/events"):
            pass
        assert closed.value.response.status_code == 503


def test_a_shutdown_says_goodbye_with_the_cursor(database: str) -> None:
    with serving(database) as first, first.client() as client:
        ok(client.post("/users", json={"name": "Ann", "kind": "person"}))
        with socket(first, "/events", **{"from": "start"}) as opened:
            frames = heard(opened)
            assert len(until_caught_up(frames)) == 1
            first.ask_to_stop()
            (closing,) = frames
            assert 500 <= closing["retry"] <= 5_000
            assert closing["position"] == 1
            assert (opened.close_code, opened.close_reason) == (1012, "position 1")


def test_who_comes_during_a_shutdown_is_sent_away(database: str) -> None:
    with serving(database) as server:
        server.system.hub.closing = True
        with pytest.raises((InvalidStatus, ConnectionClosed)), socket(server, "/events") as opened:
            opened.recv(timeout=5)
