"""A cluster that is broken repeatedly while two servers of one log are used: every acknowledged command stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic

import httpx
import structlog

from tests.support.cluster_clients import MovingConsumer, UnkeyedCaller, assert_once
from tests.support.cluster_node import PASSWORD
from tests.support.databases import reachable_folder
from tests.support.load import Load, assert_log_contains, assert_views_follow, under_load
from tests.support.outage_probes import REQUESTS, ask
from tests.support.patroni_cluster import PatroniCluster
from tests.support.primary_proxy import HOST, PrimaryProxy, primary_proxy
from tests.support.service_process import AUTHORIZED, Service
from tests.support.stream_consumers import by_socket, by_sse

SLOWLY = 0.5
"""Seconds between two commands of a caller, of which there are 24."""
BACK = 90
MORE = 20
"""The commands that each caller must have answered after a failure."""

log = structlog.get_logger()


class ClusterTrial:
    """The cluster, and the servers of one log."""

    def __init__(self, cluster: PatroniCluster, services: Sequence[Service]) -> None:
        self.cluster = cluster
        self.services = services

    async def assert_refused(self) -> None:
        """Raises AssertionError unless both servers refuse all requests for the database with a 503 and `Retry-After`."""
        await asyncio.gather(*(_assert_refuses(service) for service in self.services))

    async def wait_until_whole(self) -> None:
        """Return once every part of it works again."""
        await asyncio.to_thread(self.cluster.wait_until_whole)
        for service in self.services:
            await asyncio.to_thread(service.wait_until_ready, BACK)


Failure = Callable[[ClusterTrial], Awaitable[None]]


async def assert_nothing_is_lost(cluster: PatroniCluster, failures: Sequence[Failure]) -> None:
    """Raises AssertionError if one of the failures loses or duplicates a command, or a stream is incomplete.

    Logs how long commands were refused.
    """
    with primary_proxy(cluster.backends) as proxy:
        async with serve(proxy) as services:
            trial = ClusterTrial(cluster, services)
            consumers = [MovingConsumer(services, read) for read in (by_sse, by_socket)]
            try:
                await _assert_survives(trial, failures, consumers)
            finally:
                for consumer in consumers:
                    consumer.stop()


async def _assert_refuses(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url, headers=AUTHORIZED, timeout=60) as client:
        for response, _ in await asyncio.gather(*(ask(client, *request) for request in REQUESTS)):
            assert response.status_code == 503, response.text
            assert int(response.headers["retry-after"]) >= 1


@asynccontextmanager
async def serve(proxy: PrimaryProxy) -> AsyncIterator[Sequence[Service]]:
    """Two servers of one log."""
    url = f"host={HOST} port={proxy.port} user=app password={PASSWORD} dbname=app"
    with reachable_folder() as folder:
        services = Service(folder, url), Service(folder, url)
        try:
            await asyncio.gather(*(asyncio.to_thread(service.start) for service in services))
            yield services
        finally:
            await asyncio.gather(*(asyncio.to_thread(service.close) for service in services))


async def _assert_survives(
    trial: ClusterTrial, failures: Sequence[Failure], consumers: Sequence[MovingConsumer]
) -> None:
    service, other = trial.services
    caller = UnkeyedCaller(trial.services)
    async with (
        under_load(service, "one", pause=SLOWLY) as load,
        under_load(other, "other", pause=SLOWLY) as more,
    ):
        for failure in failures:
            caller.gap, begun = 0.0, monotonic()
            await failure(trial)
            await trial.wait_until_whole()
            await asyncio.gather(load.answered(MORE), more.answered(MORE))
            seconds, whole = round(caller.gap, 1), round(monotonic() - begun, 1)
            log.info("refused", failure=failure.__name__, seconds=seconds, whole_after=whole)
    await _assert_whole(trial, [load, more], caller, consumers)


async def _assert_whole(
    trial: ClusterTrial,
    loads: Sequence[Load],
    caller: UnkeyedCaller,
    consumers: Sequence[MovingConsumer],
) -> None:
    answers = [answer for load in loads for answer in load.answers]
    end = max(answer.position for answer in answers)
    await asyncio.gather(*(consumer.finish(end) for consumer in consumers))
    await caller.stop()
    service, _ = trial.services
    events = await asyncio.to_thread(service.events)
    assert_log_contains(events, answers)
    assert_once(events, caller)
    for consumer in consumers:
        assert consumer.positions == list(range(1, len(consumer.positions) + 1))
    await assert_views_follow(service)
