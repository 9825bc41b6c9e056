"""The permissions of NATS in the guide are enough for relay and edges, and edges can do no more."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

import pytest

from api.fan_out.connection import connection_to, nats_servers
from api.fan_out.stream import find_stream
from tests.support.api_client import ok
from tests.support.databases import reachable_folder
from tests.support.fan_out import STREAM, NatsServer, Relay, edge_of
from tests.support.paths import ROOT
from tests.support.service_process import Service
from tests.support.sse_client import frames, opened
from tests.support.stream_consumers import client

RELAY, EDGE = "relay:of-the-relay", "edge:of-the-edge"
CONFIGURATION = re.compile(r"```\n(listen: .*?)```", re.DOTALL)


def configuration() -> str:
    """The configuration of the guide, with a port and passwords, and without TLS."""
    text = (ROOT / "docs/fan-out.md").read_text()
    [found_] = CONFIGURATION.findall(text)
    lines = [
        line for line in found_.splitlines() if not line.startswith(("listen", "jetstream", "tls"))
    ]
    whole = "\n".join(lines).replace("$RELAY_PASSWORD", "of-the-relay")
    whole = whole.replace("$EDGE_PASSWORD", "of-the-edge").replace("{", "{{").replace("}", "}}")
    return f'listen: "127.0.0.1:{{port}}"\njetstream {{{{ store_dir: "{{store}}" }}}}\n{whole}\n'


@pytest.fixture(scope="module")
def guarded(log_server: Service) -> Iterator[tuple[NatsServer, Service]]:
    """NATS configured as in the guide, with a relay and an edge."""
    with reachable_folder() as of_nats, reachable_folder() as of_edge:
        nats = NatsServer(of_nats, config=configuration())
        relay = Relay(log_server, nats, RELAY)
        edge = edge_of(log_server, nats, of_edge, EDGE)
        nats.start()
        try:
            relay.start()
            edge.start()
            yield nats, edge
        finally:
            edge.close()
            relay.close()
            nats.kill()


def test_permissions_of_the_guide_are_enough_for_relay_and_edge(
    log_server: Service, guarded: tuple[NatsServer, Service]
) -> None:
    _, edge = guarded
    ids = {"order": "order-1", "service": "sdr", "status": "running"}
    with (
        client(log_server.url) as api,
        client(edge.url) as at_edge,
        opened(at_edge, "/executions/watch", after=0, include="execution") as source,
    ):
        made = ok(api.post("/executions", json=ids))
        read = frames(source)
        while next(read).data["position"] < made["position"]:
            pass


def test_edge_can_publish_no_event_and_delete_no_stream(
    guarded: tuple[NatsServer, Service],
) -> None:
    nats, _ = guarded

    async def try_both() -> tuple[int, int]:
        async with connection_to(nats_servers(nats.url_of(EDGE)), "test") as connection:
            before = await find_stream(connection.client, STREAM)
            await connection.client.publish(f"{STREAM}.events", b"made up")
            await connection.client.publish(f"$JS.API.STREAM.DELETE.{STREAM}", b"")
            await connection.client.flush()
            time.sleep(0.2)  # noqa: ASYNC251 - no other task runs
            after = await find_stream(connection.client, STREAM)
            assert before is not None
            assert after is not None
            return before.last, after.last

    before, after = asyncio.run(try_both())
    assert before == after


def test_client_without_a_password_is_refused(guarded: tuple[NatsServer, Service]) -> None:
    nats, _ = guarded

    async def come() -> None:
        async with connection_to(nats_servers(nats.url), "test"):
            pass

    with pytest.raises(Exception, match=r"(?i)authorization"):
        asyncio.run(come())
