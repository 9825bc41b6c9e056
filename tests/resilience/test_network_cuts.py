"""Links between three nodes, each in a network namespace, are cut or slowed down: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path

import pytest

from tests.support.cluster_node import Node
from tests.support.cluster_trial import ClusterTrial, Failure, assert_nothing_is_lost
from tests.support.direct_writer import assert_kept, direct_writers
from tests.support.namespace_doors import socket_in
from tests.support.network import Network, NoNamespaces, network
from tests.support.patroni_cluster import NAMES, SOON, PatroniCluster, patroni_cluster

TIMES, UP, DOWN = 6, 1.5, 2.5
"""How often a link flaps, and the seconds for which it is up and down."""
PARTED = 15.0
"""Seconds without one link: longer than `wal_sender_timeout`."""
SLOW, SLOWLY = "256kbit", 15.0
"""The bandwidth of a slow link, and the seconds for which it is slow."""

Cut = Callable[[Network, ClusterTrial, Node, Sequence[Node]], Awaitable[None]]

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def links() -> Iterator[Network]:
    try:
        with network(NAMES) as made:
            yield made
    except NoNamespaces as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def cluster(
    links: Network, thorough: bool, nightly: bool, postgres_bin: Path | None
) -> Iterator[PatroniCluster]:
    if not (thorough or nightly):
        pytest.skip("takes minutes: --nightly, or --thorough")
    with patroni_cluster(postgres_bin, links, None if thorough else SOON) as cluster:
        yield cluster


async def isolate_primary(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """It reaches neither etcd nor the others; clients still reach it."""
    links.cut_off(primary.name, *(node.name for node in standbys))
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, primary)


async def drop_packets_from_primary(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """The others receive nothing from it; it receives what they send."""
    links.cut(primary.name, *(node.name for node in standbys))
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, primary)


async def drop_packets_to_primary(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """It receives nothing; the others receive what it sends."""
    for standby in standbys:
        links.cut(standby.name, primary.name)
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, primary)


async def cut_one_link(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """The primary and one standby do not reach each other; the other standby reaches both."""
    links.cut_off(primary.name, standbys[0].name)
    await asyncio.sleep(PARTED)


async def flap_links_of_primary(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """Its links go down and up, each time before its lease expires."""
    for _ in range(TIMES):
        links.cut_off(primary.name, *(node.name for node in standbys))
        await asyncio.sleep(DOWN)
        links.mend()
        await asyncio.sleep(UP)


async def slow_down_standbys(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """Both standbys receive less than is written."""
    for standby in standbys:
        links.slow(standby.name, SLOW)
    await asyncio.sleep(SLOWLY)


NIGHTLY: tuple[Cut, ...] = (isolate_primary, flap_links_of_primary, slow_down_standbys)
OTHERS: tuple[Cut, ...] = (drop_packets_from_primary, drop_packets_to_primary, cut_one_link)


def failure(links: Network, cut: Cut) -> Failure:
    """A cut, with clients at each node, and its end."""

    @wraps(cut)
    async def cut_and_repair(trial: ClusterTrial) -> None:
        cluster = trial.cluster
        primary = await asyncio.to_thread(cluster.primary)
        standbys = [node for node in cluster.nodes if node is not primary]
        with direct_writers(cluster.nodes, primary) as writers:
            await cut(links, trial, primary, standbys)
            links.mend()
            await asyncio.to_thread(cluster.wait_until_whole)
        await asyncio.to_thread(assert_kept, writers, cluster)

    return cut_and_repair


async def test_cut_links_lose_and_double_nothing_and_streams_stay_complete(
    links: Network, cluster: PatroniCluster, thorough: bool
) -> None:
    cuts = (*NIGHTLY, *OTHERS) if thorough else NIGHTLY
    try:
        await assert_nothing_is_lost(cluster, [*map(partial(failure, links), cuts)])
    finally:
        links.mend()


@pytest.mark.usefixtures("links")
def test_network_of_a_failed_test_is_removed() -> None:
    before = namespaces()
    with pytest.raises(LookupError):
        fail_in_a_network()
    assert namespaces() == before


def test_cut_in_one_direction_passes_packets_in_the_other(links: Network) -> None:
    links.cut("a", "b")
    assert [receives(links, *ends) for ends in (("a", "b"), ("b", "a"))] == [False, True]
    links.mend()
    assert receives(links, "a", "b")


def fail_in_a_network() -> None:
    before = namespaces()
    with network(("lost",)):
        assert len(namespaces()) == len(before) + 3
        raise LookupError


def namespaces() -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


def receives(network: Network, source: str, target: str) -> bool:
    """Whether a packet arrives."""
    with (
        socket_in(network.namespace(source), socket.SOCK_DGRAM) as sender,
        socket_in(network.namespace(target), socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((network.address(target), 0))
        receiver.settimeout(1)
        sender.sendto(b"a packet", receiver.getsockname())
        with suppress(TimeoutError):
            return bool(receiver.recv(100))
    return False
