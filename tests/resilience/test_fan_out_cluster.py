"""Streams through a NATS cluster of three servers with TLS, while the leader of the stream is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_client import ok
from tests.support.databases import reachable_folder
from tests.support.delivery_proof import Consumer, prove, write_usage
from tests.support.fan_out import Relay, edge_of, nats_program
from tests.support.load import CATALOG
from tests.support.nats_cluster import NatsCluster
from tests.support.service_process import Service
from tests.support.stream_consumers import NO_END, by_socket, by_sse, client, head

SECONDS = 60
IDS = {"order": "order-1", "service": "sdr", "status": "running"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[NatsCluster]:
    nats_program()
    with reachable_folder() as folder:
        made = NatsCluster(folder)
        made.start()
        yield made
        made.kill()


@pytest.fixture(scope="module")
def execution(service: Service) -> str:
    """The id of a running execution."""
    with client(service.url) as api:
        for path, entry in CATALOG:
            ok(api.post(f"/{path}", json=entry))
        return str(ok(api.post("/executions", json=IDS))["$id"])


@pytest.fixture(scope="module")
def relay(service: Service, cluster: NatsCluster, execution: str) -> Iterator[Relay]:
    assert execution
    made = Relay(service, cluster)
    made.start("--replicas", str(len(cluster.servers)))
    yield made
    made.close()


@pytest.fixture
def edge(service: Service, cluster: NatsCluster, relay: Relay, tmp_path: Path) -> Iterator[Service]:
    relay.wait_for("relay publishes")
    made = edge_of(service, cluster, tmp_path)
    made.start()
    yield made
    made.close()


def test_consumers_miss_nothing_when_the_leader_of_the_stream_is_killed(
    service: Service, cluster: NatsCluster, edge: Service, execution: str, thorough: bool
) -> None:
    with client(service.url) as api:
        begin = head(api)
    consumers = [
        # The edge refuses new streams while NATS has no leader.
        Consumer([edge], read, begin, NO_END, seed=seed, most=200, mortal=True)
        for seed, read in enumerate([by_sse, by_socket])
    ]

    def kill() -> int:
        for _ in range(4 if thorough else 1):
            time.sleep(1)
            leader = cluster.leader()
            cluster.servers[leader].kill()
            wait_for_another_leader(cluster, leader)
            edge.wait_until_ready(SECONDS)
            cluster.servers[leader].start()
        with client(service.url) as api:
            return head(api) + 100

    with write_usage([service], [execution], 2):
        prove(consumers, service, begin, meanwhile=kill)


def wait_for_another_leader(cluster: NatsCluster, former: str) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            if cluster.leader() not in {former, "None"}:
                return
        except Exception:  # noqa: BLE001 - whatever cannot be reached now
            assert time.monotonic() < end
        time.sleep(0.2)
