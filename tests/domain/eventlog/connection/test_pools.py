"""A pool that could not connect serves the requests that wait as soon as the database is back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from psycopg import OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from domain.eventlog.connection.pools import AGAIN, new_pool
from tests.support.postgres_proxy import SOCKET, proxied

pytestmark = pytest.mark.anyio

AWAY = 3 * AGAIN


class Failures:
    """Counts how often a pool could not connect."""

    def __init__(self) -> None:
        self.number = 0

    async def add(self, _: AsyncConnectionPool) -> None:
        self.number += 1


async def test_waiting_request_gets_a_connection_once_the_database_is_back(database: str) -> None:
    failures = Failures()
    async with proxied(database) as proxy:
        door = Path(str(conninfo_to_dict(proxy.conninfo)["host"])) / SOCKET
        moved = door.rename(door.with_name("moved"))
        async with new_pool(proxy.conninfo, "", 2, failures.add) as pool:
            waiting = asyncio.create_task(pool.getconn())
            await asyncio.sleep(AWAY)
            assert not waiting.done()
            moved.rename(door)
            connection = await asyncio.wait_for(waiting, pool.timeout / 2)
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
            await pool.putconn(connection)
    assert failures.number >= 2


async def test_pool_does_not_try_again_while_nothing_waits() -> None:
    failures = Failures()
    async with new_pool("host=/nowhere", "", 2, failures.add) as pool:
        with pytest.raises(PoolTimeout):
            await pool.getconn(timeout=AGAIN / 2)
        await asyncio.sleep(2 * AGAIN)  # what was under way has ended
        before = failures.number
        await asyncio.sleep(AWAY)
        assert failures.number == before


async def test_pool_that_closes_while_a_request_waits_refuses_it() -> None:
    async with new_pool("host=/nowhere", "", 2, Failures().add) as pool:
        waiting = asyncio.create_task(pool.getconn())
        await asyncio.sleep(AWAY)
    with pytest.raises(OperationalError):
        await waiting
