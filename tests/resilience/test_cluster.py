"""Three nodes under Patroni, as in `docs/high-availability.md`: no acknowledged command is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.cluster_node import Node
from tests.support.cluster_trial import ClusterTrial, Failure, assert_nothing_is_lost
from tests.support.databases import reachable_folder
from tests.support.patroni_cluster import SOON, PatroniCluster, patroni_cluster
from tests.support.service_process import Service

AWAY = 6.0
"""Seconds for which standbys are away: longer than a server waits for a commit."""

MUCH = 50
"""Megabytes that exceed what the kernel buffers for connections to frozen standbys."""

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cluster(thorough: bool, nightly: bool, postgres_bin: Path | None) -> Iterator[PatroniCluster]:
    if not (thorough or nightly):
        pytest.skip("takes minutes: --nightly, or --thorough")
    with patroni_cluster(postgres_bin, settings=None if thorough else SOON) as cluster:
        yield cluster


async def switch_over(trial: ClusterTrial) -> None:
    await asyncio.to_thread(trial.cluster.switch_over)


async def kill_postgres(trial: ClusterTrial) -> None:
    primary = await asyncio.to_thread(trial.cluster.primary)
    primary.kill_postgres()
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, primary)


async def kill_node(trial: ClusterTrial) -> None:
    node = await asyncio.to_thread(trial.cluster.primary)
    await asyncio.to_thread(node.kill)
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, node)
    trial.cluster.start_node(node)


async def freeze_patroni(trial: ClusterTrial) -> None:
    """PostgreSQL stays a primary until another node leads."""
    node = await asyncio.to_thread(trial.cluster.primary)
    with node.unattended():
        await asyncio.to_thread(trial.cluster.hurry, node)
        await asyncio.to_thread(trial.cluster.wait_until_led_by_other, node)


async def kill_standby(trial: ClusterTrial) -> None:
    standby, _ = await asyncio.to_thread(trial.cluster.standbys)
    await asyncio.to_thread(standby.kill)
    await asyncio.sleep(AWAY)
    trial.cluster.start_node(standby)


async def kill_both_standbys(trial: ClusterTrial) -> None:
    """No commit is acknowledged until one standby is back."""
    standbys = await asyncio.to_thread(trial.cluster.standbys)
    for standby in standbys:
        await asyncio.to_thread(standby.kill)
    await asyncio.sleep(AWAY)
    for standby in standbys:
        trial.cluster.start_node(standby)


async def kill_primary_while_a_standby_hangs(trial: ClusterTrial) -> None:
    """The other standby may lack commits that only the frozen one has acknowledged: it must not lead."""
    primary = await asyncio.to_thread(trial.cluster.primary)
    hanging, other = await asyncio.to_thread(trial.cluster.standbys)
    with hanging.frozen():
        await asyncio.to_thread(primary.kill, with_etcd=False)
        await asyncio.to_thread(trial.cluster.hurry, primary)
        await asyncio.to_thread(trial.cluster.wait_until_without_leader, other)
        await trial.assert_refused()
        assert not other.leads()
    trial.cluster.start_node(primary)


async def kill_primary_while_both_standbys_hang(trial: ClusterTrial) -> None:
    """The primary has much unacknowledged WAL that no standby has: one of them leads anyway."""
    primary = await asyncio.to_thread(trial.cluster.primary)
    first, second = await asyncio.to_thread(trial.cluster.standbys)
    with first.frozen(), second.frozen():
        await asyncio.to_thread(primary.write_locally, MUCH)
        await asyncio.sleep(AWAY)  # by then its Patroni has written its position to etcd
        await asyncio.to_thread(primary.kill, with_etcd=False)
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, primary)
    trial.cluster.start_node(primary)


async def kill_primary_when_standbys_are_back(trial: ClusterTrial) -> None:
    """Its Patroni has not seen them yet, so only it may lead: the most advanced one is promoted manually."""
    cluster = trial.cluster
    primary = await asyncio.to_thread(cluster.primary)
    standbys = await asyncio.to_thread(cluster.standbys)
    for standby in standbys:
        await asyncio.to_thread(standby.kill, with_etcd=False)
    await asyncio.to_thread(cluster.wait_until_without_voters)
    with primary.unattended():
        for standby in standbys:
            cluster.start_node(standby)
        await asyncio.to_thread(cluster.wait_until_streaming, primary)
        await asyncio.to_thread(primary.kill, with_etcd=False)
    await asyncio.to_thread(cluster.wait_until_without_leader, standbys[0])
    assert not any(standby.leads() for standby in standbys)
    await asyncio.to_thread(max(standbys, key=Node.received).lead)
    await asyncio.to_thread(cluster.wait_until_led_by_other, primary)
    cluster.start_node(primary)


async def kill_next_primary(trial: ClusterTrial) -> None:
    """The first one is not back yet; if the third one may not lead without it, the second one continues."""
    first = await asyncio.to_thread(trial.cluster.primary)
    first.kill_postgres()
    await asyncio.to_thread(trial.cluster.wait_until_led_by_other, first)
    second = await asyncio.to_thread(trial.cluster.primary)
    timeline = second.timeline()
    second.kill_postgres()
    await asyncio.to_thread(trial.cluster.wait_until_led_after, timeline)


NIGHTLY: tuple[Failure, ...] = (
    *(switch_over, kill_postgres, freeze_patroni),
    *(kill_both_standbys, kill_primary_while_a_standby_hangs),
)
"""One of each kind: a planned switchover, a process, a machine, no quorum, a second failure."""
OTHERS: tuple[Failure, ...] = (
    *(kill_node, kill_standby, kill_next_primary),
    *(kill_primary_while_both_standbys_hang, kill_primary_when_standbys_are_back),
)


async def test_failures_lose_and_double_nothing_and_streams_stay_complete(
    cluster: PatroniCluster, thorough: bool
) -> None:
    await assert_nothing_is_lost(cluster, (*NIGHTLY, *OTHERS) if thorough else NIGHTLY)


async def test_server_on_a_standby_refuses_to_start_with_one_line(cluster: PatroniCluster) -> None:
    standby, _ = await asyncio.to_thread(cluster.standbys)
    with psycopg.connect(standby.conninfo) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    with reachable_folder() as folder:
        service = Service(folder, standby.conninfo.replace("dbname=postgres", "dbname=app"))
        done = await asyncio.to_thread(service.run, "serve", "--port", "0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "it is a standby" in done.stderr
