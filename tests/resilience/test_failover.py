"""Two servers of one data directory: the remaining one takes over the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.databases import reachable_folder
from tests.support.load import assert_log_contains, assert_views_follow, under_load
from tests.support.service_process import Service

BACK = 20

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair() -> Iterator[tuple[Service, Service]]:
    """The owner of the database, and a server attached to it."""
    with reachable_folder() as folder:
        both = Service(folder), Service(folder)
        try:
            for service in both:
                service.start()
            yield both
        finally:
            for service in both:
                service.close()


async def test_remaining_server_takes_over_the_database_and_loses_nothing(
    pair: tuple[Service, Service],
) -> None:
    owner, other = pair
    async with under_load(other, "killed") as load:
        await load.answered(20)
        first = other.postgres()[0]
        await asyncio.to_thread(owner.kill)
        await load.answered(50)
        await asyncio.to_thread(other.wait_until_ready, BACK)
    assert other.postgres()[0] != first
    await asyncio.to_thread(owner.start)
    async with under_load(owner, "stopped") as more:
        await more.answered(20)
        assert await asyncio.to_thread(other.terminate) == 0
        await more.answered(50)
        await asyncio.to_thread(owner.wait_until_ready, BACK)
    assert_log_contains(owner.events(), [*load.answers, *more.answers])
    await assert_views_follow(owner)
