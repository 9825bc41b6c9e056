"""Three nodes under Patroni, as `docs/high-availability.md` has them: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
import structlog

from tests.support.cluster_clients import MovingConsumer, UnkeyedCaller, assert_once
from tests.support.databases import reachable_folder
from tests.support.load import assert_log_contains, assert_views_follow, under_load
from tests.support.patroni_cluster import PASSWORD, PatroniCluster, patroni_cluster
from tests.support.primary_proxy import HOST, PrimaryProxy, primary_proxy
from tests.support.service_process import Service
from tests.support.stream_consumers import by_socket, by_sse

FROZEN = 25.0
"""Seconds for which Patroni is frozen: longer than its `ttl`, so that another node is promoted."""
AWAY = 10.0
"""Seconds for which standbys are away."""
SLOWLY = 0.2
BACK = 90

log = structlog.get_logger()

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cluster(thorough: bool, postgres_bin: Path | None) -> Iterator[PatroniCluster]:
    if not thorough:
        pytest.skip("takes minutes: --thorough")
    with patroni_cluster(postgres_bin) as cluster:
        yield cluster


@asynccontextmanager
async def served(proxy: PrimaryProxy) -> AsyncIterator[Sequence[Service]]:
    """Two servers of one log."""
    url = f"host={HOST} port={proxy.port} user=app password={PASSWORD} dbname=app"
    with reachable_folder() as folder:
        services = Service(folder, url), Service(folder, url)
        try:
            for service in services:
                await asyncio.to_thread(service.start)
            yield services
        finally:
            for service in services:
                await asyncio.to_thread(service.close)


async def switched_over(cluster: PatroniCluster) -> None:
    await asyncio.to_thread(cluster.switch_over)


async def postgres_killed(cluster: PatroniCluster) -> None:
    (await asyncio.to_thread(cluster.primary)).kill_postgres()
    await asyncio.sleep(1)


async def node_killed(cluster: PatroniCluster) -> None:
    node = await asyncio.to_thread(cluster.primary)
    await asyncio.to_thread(node.kill)
    await asyncio.to_thread(cluster.primary)
    cluster.start_node(node)


async def patroni_frozen(cluster: PatroniCluster) -> None:
    node = await asyncio.to_thread(cluster.primary)
    node.freeze()
    await asyncio.sleep(FROZEN)
    node.thaw()


async def standby_killed(cluster: PatroniCluster) -> None:
    primary = await asyncio.to_thread(cluster.primary)
    standby = next(node for node in cluster.nodes if node is not primary)
    await asyncio.to_thread(standby.kill)
    await asyncio.sleep(AWAY)
    cluster.start_node(standby)


async def both_standbys_killed(cluster: PatroniCluster) -> None:
    primary = await asyncio.to_thread(cluster.primary)
    standbys = [node for node in cluster.nodes if node is not primary]
    for standby in standbys:
        await asyncio.to_thread(standby.kill)
    await asyncio.sleep(AWAY)
    for standby in standbys:
        cluster.start_node(standby)


FAILURES: tuple[Callable[[PatroniCluster], Awaitable[None]], ...] = (
    *(switched_over, postgres_killed, node_killed, patroni_frozen),
    *(standby_killed, both_standbys_killed),
)


async def test_failures_lose_and_double_nothing_and_streams_stay_whole(
    cluster: PatroniCluster,
) -> None:
    with primary_proxy(cluster.backends) as proxy:
        async with served(proxy) as services:
            consumers = [MovingConsumer(services, read) for read in (by_sse, by_socket)]
            try:
                await assert_nothing_lost(cluster, services, consumers)
            finally:
                for consumer in consumers:
                    consumer.stop()


async def assert_nothing_lost(
    cluster: PatroniCluster, services: Sequence[Service], consumers: Sequence[MovingConsumer]
) -> None:
    """Raises AssertionError where a failure loses or doubles something, or where a stream is not whole."""
    caller, answers = UnkeyedCaller(services), []
    for failure in FAILURES:
        caller.gap = 0.0
        async with (
            under_load(services[0], failure.__name__, pause=SLOWLY) as load,
            under_load(services[1], f"{failure.__name__}-2", pause=SLOWLY) as more,
        ):
            await failure(cluster)
            await asyncio.to_thread(cluster.wait_until_whole)
            for each in services:
                await asyncio.to_thread(each.wait_until_ready, BACK)
            await load.answered(20)
        answers += [*load.answers, *more.answers]
        log.info("refused", failure=failure.__name__, seconds=round(caller.gap, 1))
    end = max(answer.position for answer in answers)
    await asyncio.gather(*(consumer.finish(end) for consumer in consumers))
    await caller.stop()
    events = await asyncio.to_thread(services[0].events)
    assert_log_contains(events, answers)
    assert_once(events, caller)
    for consumer in consumers:
        assert consumer.positions == list(range(1, len(consumer.positions) + 1))
    await assert_views_follow(services[0])


async def test_server_on_a_standby_says_so_in_one_line(cluster: PatroniCluster) -> None:
    primary = await asyncio.to_thread(cluster.primary)
    standby = next(node for node in cluster.nodes if node is not primary)
    with psycopg.connect(standby.conninfo) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    with reachable_folder() as folder:
        service = Service(folder, standby.conninfo.replace("dbname=postgres", "dbname=app"))
        done = await asyncio.to_thread(service.run, "serve", "--port", "0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "it is a standby" in done.stderr
