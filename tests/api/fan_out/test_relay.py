"""The relay: each event is in NATS once, at its position, also after kills; errors that stop the relay are reported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from api.fan_out.connection import connection_to, nats_servers
from api.fan_out.edge.tail import consume
from api.fan_out.stream import NatsStream, find_stream
from api.fan_out.wire import Subjects
from domain.eventlog.codec import EventRow
from domain.eventlog.setup.log_id import renew_log_id
from tests.support.api_client import JSON
from tests.support.databases import reachable_folder
from tests.support.fan_out import STREAM, NatsServer, Relay
from tests.support.ports import free_port
from tests.support.service_process import Service
from tests.support.stream_consumers import client

SUBJECTS = Subjects(STREAM)
PUBLISHES = "relay publishes"
SECONDS = 30


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    with reachable_folder() as folder:
        server = NatsServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def relaying(service: Service, nats: NatsServer, *options: str) -> Iterator[Relay]:
    relay = Relay(service, nats)
    relay.start(*options)
    try:
        yield relay
    finally:
        relay.close()


def write(service: Service, count: int) -> None:
    """Create so many executions, with three events each."""
    commands = [
        {"command": "create", "order": "order-1", "service": "sdr", "status": "running"}
        for _ in range(count)
    ]
    with client(service.url) as api:
        outcomes: list[JSON] = api.post("/commands", json=commands).json()
        assert {each["status"] for each in outcomes} == {201}


def stored_stream(nats: NatsServer) -> NatsStream | None:
    async def look() -> NatsStream | None:
        async with connection_to(nats_servers(nats.url), "test") as connection:
            return await find_stream(connection.client, STREAM)

    return asyncio.run(look())


def rows(nats: NatsServer) -> list[EventRow]:
    """All rows in NATS, in order."""

    async def read() -> list[EventRow]:
        async with connection_to(nats_servers(nats.url), "test") as connection:
            stream = await find_stream(connection.client, STREAM)
            assert stream is not None
            read_: list[EventRow] = []
            async with consume(connection, STREAM, 1) as waiting:
                while len(read_) < stream.last - stream.first + 1:
                    assert await waiting.wake.wait(SECONDS)
                    read_ += waiting.take_all()
            return read_

    return asyncio.run(read())


def wait_for_relay(service: Service, nats: NatsServer) -> int:
    """Wait until NATS has the whole log; return its last position."""
    end = time.monotonic() + SECONDS
    while True:
        head, stream = len(service.events()), stored_stream(nats)
        if stream is not None and stream.last == head:
            return head
        assert time.monotonic() < end, (head, stream)
        time.sleep(0.05)


def require_no_holes(service: Service, nats: NatsServer) -> None:
    """Require that the stream has each event of the log from its first position on, once, as it is stored."""
    wait_for_relay(service, nats)
    stored, relayed = service.events(), rows(nats)
    first = relayed[0].position
    assert [row.position for row in relayed] == list(range(first, first + len(relayed)))
    assert relayed == [row for row in stored if first <= row.position <= relayed[-1].position]


def test_stream_begins_at_the_end_of_the_log_and_has_each_event_at_its_position(
    log_server: Service, nats: NatsServer
) -> None:
    before = len(log_server.events())
    with relaying(log_server, nats) as relay:
        relay.wait_for(PUBLISHES)
        write(log_server, 300)
        require_no_holes(log_server, nats)
        stream = stored_stream(nats)
        assert stream is not None
        assert stream.first == before + 1
        assert stream.last >= before + 900
        assert '"event": "relay health"' in relay.log()
        assert relay.terminate() == 0


def test_second_relay_takes_over_when_the_publishing_one_is_killed(
    log_server: Service, nats: NatsServer
) -> None:
    with relaying(log_server, nats) as first:
        first.wait_for(PUBLISHES)
        with relaying(log_server, nats) as second:
            write(log_server, 50)
            wait_for_relay(log_server, nats)
            assert PUBLISHES not in second.log()
            write(log_server, 50)
            first.kill()
            write(log_server, 50)
            second.wait_for(PUBLISHES)
            require_no_holes(log_server, nats)


def test_relay_continues_after_nats_was_killed_and_started_again(
    log_server: Service, nats: NatsServer
) -> None:
    with relaying(log_server, nats) as relay:
        relay.wait_for(PUBLISHES)
        write(log_server, 50)
        nats.kill()
        write(log_server, 50)
        nats.start()
        write(log_server, 50)
        require_no_holes(log_server, nats)


@pytest.fixture
def long(thorough: bool) -> None:
    """Skip, unless with `--thorough`, a slow test of a fault that other tests nearly cover."""
    if not thorough:
        pytest.skip("takes seconds: --thorough")


@pytest.mark.usefixtures("long")
def test_relay_waits_for_nats_that_is_started_later(log_server: Service) -> None:
    with reachable_folder() as folder:
        nats = NatsServer(folder)
        with relaying(log_server, nats) as relay:
            relay.wait_for("relay health")
            nats.start()
            relay.wait_for(PUBLISHES)
            write(log_server, 5)
            require_no_holes(log_server, nats)
        nats.kill()


def test_stream_that_lost_its_last_events_gets_them_again(
    log_server: Service, nats: NatsServer
) -> None:
    with relaying(log_server, nats) as relay:
        relay.wait_for(PUBLISHES)
        write(log_server, 20)
        wait_for_relay(log_server, nats)
        nats.kill()
        before = {file: file.read_bytes() for file in nats.store.rglob("*") if file.is_file()}
        nats.start()
        write(log_server, 20)
        wait_for_relay(log_server, nats)
        nats.kill()
        for file in nats.store.rglob("*"):
            if file.is_file():
                file.unlink()
        for file, content in before.items():
            file.write_bytes(content)
        nats.start()
        require_no_holes(log_server, nats)


def test_relay_refuses_a_stream_of_another_log_and_begins_again_on_demand(
    log_server: Service, nats: NatsServer
) -> None:
    with relaying(log_server, nats) as relay:
        relay.wait_for(PUBLISHES)
        write(log_server, 5)
        wait_for_relay(log_server, nats)
        assert relay.terminate() == 0
        renew_log_id(log_server.conninfo, "executions")
        relay.start()
        assert relay.ended() == 1
        assert "holds events of the log" in relay.log()
        assert "--begin-again" in relay.log()
        relay.start("--begin-again")
        head = len(log_server.events())
        relay.wait_for(f'"position": {head}')
        stream = stored_stream(nats)
        assert stream is not None
        assert stream.first == head + 1


def test_relay_refuses_a_stream_with_messages_of_others(
    log_server: Service, nats: NatsServer
) -> None:
    async def intrude() -> None:
        async with connection_to(nats_servers(nats.url), "test") as connection:
            await connection.client.publish(SUBJECTS.events, b"no event")
            await connection.client.flush()

    with relaying(log_server, nats) as relay:
        relay.wait_for(PUBLISHES)
        asyncio.run(intrude())
        write(log_server, 1)
        assert relay.ended() == 1
        assert "a message that is no event" in relay.log()


@pytest.mark.usefixtures("long")
def test_relay_ends_when_the_log_is_replaced(log_server: Service, nats: NatsServer) -> None:
    with relaying(log_server, nats) as relay:
        relay.wait_for(PUBLISHES)
        renew_log_id(log_server.conninfo, "executions")
        assert relay.ended() == 1
        assert "which went back" in relay.log()


def test_nats_with_a_message_limit_below_that_of_events_is_refused(log_server: Service) -> None:
    with reachable_folder() as folder:
        nats = NatsServer(folder, payload="1MB")
        nats.start()
        with relaying(log_server, nats) as relay:
            assert relay.ended() == 1
            assert "max_payload" in relay.log()
        nats.kill()


def test_more_replicas_than_servers_of_nats_are_refused(
    log_server: Service, nats: NatsServer
) -> None:
    with relaying(log_server, nats, "--replicas", "3") as relay:
        assert relay.ended() == 1
        assert "NATS does not keep 3 replicas" in relay.log()


def test_metrics_have_the_position_of_the_stream(log_server: Service, nats: NatsServer) -> None:
    port = free_port()
    with relaying(log_server, nats, "--metrics-port", str(port)) as relay:
        relay.wait_for(PUBLISHES)
        write(log_server, 1)
        head = wait_for_relay(log_server, nats)
        said = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert f"executions_relay_position {float(head)}" in said
        assert "executions_relay_publishes 1.0" in said


def test_invalid_address_of_nats_is_refused_in_one_line(log_server: Service) -> None:
    said = log_server.run("relay", "nats", "--url", "http://user:secret@host")
    assert said.returncode == 1
    assert "must be like nats://host:4222" in said.stderr
    assert "secret" not in said.stderr
