"""Links between three nodes are cut and made slow, each node in a network namespace of its own: nothing is lost."""

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
"""How often a link flaps, and seconds for which it does and does not work."""
PARTED = 15.0
"""Seconds without one link: longer than `wal_sender_timeout`."""
SLOW, SLOWLY = "256kbit", 15.0
"""What a slow link lets through in a second, and for how many seconds."""

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


async def primary_isolated(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """It reaches neither etcd nor the others; clients still reach it."""
    links.cut_off(primary.name, *(node.name for node in standbys))
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, primary)


async def primary_unheard(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """Nothing comes from it to the others; what they send arrives."""
    links.cut(primary.name, *(node.name for node in standbys))
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, primary)


async def primary_deaf(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """Nothing comes to it from the others; what it sends arrives."""
    for standby in standbys:
        links.cut(standby.name, primary.name)
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, primary)


async def one_link_cut(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """The primary and one standby do not reach each other; the other standby reaches both."""
    links.cut_off(primary.name, standbys[0].name)
    await asyncio.sleep(PARTED)


async def primary_flapping(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """Its links come and go, each time before its lease is over."""
    for _ in range(TIMES):
        links.cut_off(primary.name, *(node.name for node in standbys))
        await asyncio.sleep(DOWN)
        links.mend()
        await asyncio.sleep(UP)


async def standbys_slow(
    links: Network, trial: ClusterTrial, primary: Node, standbys: Sequence[Node]
) -> None:
    """Both standbys receive less than is written."""
    for standby in standbys:
        links.slow(standby.name, SLOW)
    await asyncio.sleep(SLOWLY)


NIGHTLY: tuple[Cut, ...] = (primary_isolated, primary_flapping, standbys_slow)
OTHERS: tuple[Cut, ...] = (primary_unheard, primary_deaf, one_link_cut)


def failure(links: Network, cut: Cut) -> Failure:
    """A cut, with clients at each node, and its end."""

    @wraps(cut)
    async def cut_and_mended(trial: ClusterTrial) -> None:
        cluster = trial.cluster
        primary = await asyncio.to_thread(cluster.primary)
        standbys = [node for node in cluster.nodes if node is not primary]
        with direct_writers(cluster.nodes, primary) as writers:
            await cut(links, trial, primary, standbys)
            links.mend()
            await asyncio.to_thread(cluster.wait_until_whole)
        await asyncio.to_thread(assert_kept, writers, cluster)

    return cut_and_mended


async def test_cut_links_lose_and_double_nothing_and_streams_stay_whole(
    links: Network, cluster: PatroniCluster, thorough: bool
) -> None:
    cuts = (*NIGHTLY, *OTHERS) if thorough else NIGHTLY
    try:
        await assert_nothing_is_lost(cluster, [*map(partial(failure, links), cuts)])
    finally:
        links.mend()


@pytest.mark.usefixtures("links")
def test_nothing_is_left_of_a_network_whose_test_has_failed() -> None:
    before = namespaces()
    with pytest.raises(LookupError):
        fail_in_a_network()
    assert namespaces() == before


def test_cut_in_one_direction_lets_the_other_through(links: Network) -> None:
    links.cut("a", "b")
    assert [heard(links, *ends) for ends in (("a", "b"), ("b", "a"))] == [False, True]
    links.mend()
    assert heard(links, "a", "b")


def fail_in_a_network() -> None:
    before = namespaces()
    with network(("lost",)):
        assert len(namespaces()) == len(before) + 3
        raise LookupError


def namespaces() -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


def heard(network: Network, source: str, target: str) -> bool:
    """Whether a packet comes from one to the other."""
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
