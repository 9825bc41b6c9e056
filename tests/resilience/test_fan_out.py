"""Streams through NATS while relay, NATS, edge or server are killed: consumers see every event once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from domain.eventlog.setup.log_id import log_id, renew_log_id
from tests.support.api_client import ok
from tests.support.delivery_proof import Consumer, prove, write_usage
from tests.support.fan_out import FanOut, Relay, fanning_out, nats_program
from tests.support.load import CATALOG
from tests.support.service_process import Service
from tests.support.sse_client import frames, opened
from tests.support.stream_consumers import NO_END, by_socket, by_sse, client, head

SECONDS = 60
SSE = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def fan_out(service: Service) -> Iterator[FanOut]:
    nats_program()
    with client(service.url) as api:
        for path, entry in CATALOG:
            ok(api.post(f"/{path}", json=entry))
    with fanning_out(service) as made:
        yield made


@pytest.fixture(scope="module")
def execution(fan_out: FanOut) -> str:
    """The id of a running execution."""
    with client(fan_out.service.url) as api:
        ids = {"order": "order-1", "service": "sdr", "status": "running"}
        return str(ok(api.post("/executions", json=ids))["$id"])


def test_consumers_miss_nothing_while_edge_server_relay_and_nats_are_killed(
    fan_out: FanOut, execution: str, thorough: bool
) -> None:
    service, nats, relay, edge = fan_out
    with client(service.url) as api:
        begin = head(api)
    consumers = [
        Consumer(doors, read, begin, NO_END, seed=seed, most=200, mortal=True)
        for seed, (doors, read) in enumerate(
            [
                ([edge], by_sse),
                ([edge], by_socket),
                ([service, edge], by_sse),
                ([service, edge], by_socket),
            ]
        )
    ]

    def kill() -> int:
        for _ in range(5 if thorough else 1):
            time.sleep(0.5)
            relay.kill()
            time.sleep(0.5)
            relay.start()
            time.sleep(0.5)
            nats.kill()
            time.sleep(0.5)
            nats.start()
            edge.wait_until_ready(SECONDS)
            edge.kill()
            edge.start()
        with client(service.url) as api:
            return head(api) + 100

    with write_usage([service], [execution], 2):
        prove(consumers, service, begin, meanwhile=kill)


@pytest.fixture
def long(thorough: bool) -> None:
    """Marks a test that waits for seconds."""
    if not thorough:
        pytest.skip("waits for what takes seconds: --thorough")


@pytest.mark.usefixtures("long")
def test_edge_without_a_relay_is_not_ready_and_refuses_clients_until_one_is_back(
    fan_out: FanOut, execution: str
) -> None:
    relay, edge = fan_out.relay, fan_out.edge
    relay.kill()
    end = time.monotonic() + SECONDS
    while edge.ready():
        assert time.monotonic() < end
        time.sleep(0.1)
    with client(edge.url) as api:
        shown = api.get("/readyz")
        assert (shown.status_code, shown.json()["status"]) == (503, "unavailable")
        assert "relay" in shown.json()["detail"]
        refusal = api.get("/events", headers=SSE)
        assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "1")
    relay.start()
    edge.wait_until_ready(SECONDS)
    with client(edge.url) as api, opened(api, "/events", after=0) as source:
        assert next(frames(source)).data["position"] == 1
    assert execution


def test_events_that_nats_no_longer_has_are_read_from_the_relay(
    fan_out: FanOut, execution: str
) -> None:
    """The stream begins after the end of the log: earlier events are only in the database."""
    with client(fan_out.service.url) as api:
        end = head(api)
        ok(api.post(f"/executions/{execution}/metrics", json={"apiCalls": 1}))
    with client(fan_out.edge.url) as api, opened(api, "/executions/watch", after=0) as source:
        read = []
        for frame in frames(source):
            read.append(frame.data["position"])
            if read[-1] > end:
                break
    assert read[0] < 10
    assert read == sorted(read)


def test_streams_of_an_edge_end_when_the_log_is_replaced_and_continue_with_the_new_one(
    fan_out: FanOut, execution: str
) -> None:
    service, nats, relay, edge = fan_out
    before = log_id(service.conninfo, "executions")
    with client(edge.url) as api, opened(api, "/events") as source:
        after = renew_log_id(service.conninfo, "executions")
        last = list(frames(source))[-1]
        assert (last.type, last.data["reason"]) == ("closing", "other-log")
    assert relay.ended() == 1
    assert "--begin-again" in relay.log()
    other = Relay(service, nats)
    other.start("--begin-again")
    try:
        end = time.monotonic() + SECONDS
        while True:
            with client(edge.url) as api:
                answer = api.get("/readyz") if edge.ready() else None
            if answer is not None and answer.headers["log-id"] == after:
                break
            assert time.monotonic() < end, edge.log()
            time.sleep(0.1)
        service.wait_until_ready(SECONDS)
        query = {"from": "start", "log": before}
        with client(edge.url) as api:
            assert api.get("/events", params=query, headers=SSE).status_code == 410
        assert httpx.get(f"{edge.url}/healthz").status_code == 200
    finally:
        other.close()
    assert execution
