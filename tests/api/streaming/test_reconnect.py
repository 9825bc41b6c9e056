"""Consumers that disconnect and reconnect at random, many at once and to several servers, lose no event."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import cycle
from socket import create_connection

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from domain.errors import Overloaded
from tests.support.api_client import Executions, ok
from tests.support.delivery_proof import Consumer, Read, prove, write_usage
from tests.support.running_server import Serving, serving
from tests.support.sse_client import frames, opened
from tests.support.stream_consumers import (
    by_socket,
    by_sse,
    by_torn_socket,
    head,
    read_until_closed,
    socket,
    until_caught_up,
)
from tests.support.stream_visits import VISITS
from tests.support.waiting import wait_until

PAUSE = 0.05
"""Seconds that a writer pauses, so that it does not write more than a consumer reads."""
SSE = {"Accept": "text/event-stream"}
EVENT_SOURCES = ({**SSE, "User-Agent": "Mozilla/5.0"}, {**SSE, "Sec-Fetch-Mode": "cors"})
"""The headers of a browser's EventSource, and of one based on `fetch`."""


@pytest.mark.parametrize(
    "read", [by_sse, by_socket, by_torn_socket], ids=["sse", "websocket", "torn websocket"]
)
def test_random_disconnects_during_writes_lose_and_repeat_no_event(
    server: Serving, api: httpx.Client, executions: Executions, thorough: bool, read: Read
) -> None:
    begin, most = head(api), 80 if thorough else 20
    end = begin + (20_000 if thorough else 600)
    consumers = [Consumer([server], read, begin, end, seed=seed, most=most) for seed in range(4)]
    with write_usage([server], [executions.running()], pause=PAUSE):
        prove(consumers, server, begin)
    assert sum(consumer.visits for consumer in consumers) > (1_000 if thorough else 100)


@pytest.mark.parametrize("read", [by_sse, by_socket])
def test_random_disconnects_with_a_filter_lose_and_repeat_no_match(
    server: Serving, api: httpx.Client, executions: Executions, thorough: bool, read: Read
) -> None:
    begin, most = head(api), 20
    end = begin + (10_000 if thorough else 600)
    tagged, plain = executions.running(tags=["eu"]), executions.running()
    story = f"/executions/{tagged}/events"
    consumers = [
        Consumer([server], read, begin, end, seed=1, most=most, tag="eu"),
        Consumer([server], read, begin, end, seed=2, most=most, service="sdr-service", tag="eu"),
        Consumer([server], read, begin, end, seed=3, most=most, path=story),
    ]
    with write_usage([server], [plain, tagged, plain], pause=PAUSE):
        prove(consumers, server, begin, lambda event: event["subject"] == tagged)


def test_stream_beyond_the_limit_is_refused_as_each_kind_of_client_expects(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: server.system.hub.open == 0, 120)  # torn ones are noticed late
    monkeypatch.setattr(server.system.hub, "limit", 1)
    with socket(server, "/events") as connected:
        until_caught_up(read_until_closed(connected))
        require_refusals(server)
        with pytest.raises(InvalidStatus) as closed, socket(server, "/events"):
            pass
        assert closed.value.response.status_code == 503


def test_simultaneous_connects_do_not_exceed_the_stream_limit(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: server.system.hub.open == 0, 120)  # torn ones are noticed late
    monkeypatch.setattr(server.system.hub, "limit", 5)
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(create_connection(("127.0.0.1", server.port))) for _ in range(60)
        ]
        for one, request in zip(crowd, cycle(VISITS)):
            one.sendall(request)
        answers = [one.recv(12).removeprefix(b"HTTP/1.1 ") for one in crowd]
    assert sum(answers.count(status) for status in (b"200", b"101")) == 5
    assert answers.count(b"503") == 55


def test_stream_during_a_database_outage_is_refused_as_each_kind_of_client_expects(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise Overloaded

    monkeypatch.setattr(server.system.hub.loader.heads, "load", away)
    require_refusals(server)


def require_refusals(server: Serving) -> None:
    """Programs get an error. An EventSource would not reconnect after one."""
    with server.client() as api:
        refused = api.get("/events", headers=SSE)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        for headers in EVENT_SOURCES:
            received = api.get("/events", headers=headers)
            assert received.status_code == 200
            assert received.headers["content-type"].startswith("text/event-stream")
            assert 5_000 <= int(received.text.removeprefix("retry: ")) <= 15_000


def test_consumer_of_an_empty_log_resumes_from_its_beginning(database: str) -> None:
    with serving(database) as server, server.client() as api:
        with opened(api) as source:
            first = next(frames(source))
        assert (first.type, first.id) == ("caught-up", "0")
        ok(api.post("/users", json={"name": "Ann", "kind": "person"}))
        with opened(api, after=first.id) as source:
            assert next(frames(source)).id == "1"


def test_shutdown_sends_closing_with_the_cursor_and_the_next_server_continues(
    database: str,
) -> None:
    with serving(database) as first, first.client() as api:
        ok(api.post("/users", json={"name": "Ann", "kind": "person"}))
        with socket(first, "/events", **{"from": "start"}) as connected, opened(api) as source:
            received, read = read_until_closed(connected), frames(source)
            assert len(until_caught_up(received)) == 1
            assert next(read).type == "caught-up"
            first.ask_to_stop()
            (closing,), (closed,) = received, read
            assert (closing["type"], closing["position"]) == ("closing", 1)
            assert (connected.close_code, connected.close_reason) == (1012, "position 1")
            assert (closed.type, closed.id) == ("closing", "1")
            assert closed.retry is not None
            for retry in (closing["retry"], closed.retry):
                assert 500 <= retry <= 5_000
    with serving(database) as second, second.client() as api:
        ok(api.post("/users", json={"name": "Ben", "kind": "person"}))
        for read_on in (by_socket, by_sse):
            (event,) = read_on(second, "/events", 1, 1)
            assert event["position"] == 2


def test_connect_during_a_shutdown_is_refused(database: str) -> None:
    with serving(database) as server:
        server.system.hub.state.closing = True
        with pytest.raises((InvalidStatus, ConnectionClosed)), socket(server, "/events") as opened:
            opened.recv(timeout=5)
