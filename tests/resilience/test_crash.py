"""The server or its PostgreSQL is killed under load: acknowledged commands stay, once each."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import httpx
import pytest

from tests.support.load import assert_log_contains, assert_views_follow, under_load
from tests.support.service_process import Service

pytestmark = pytest.mark.anyio


async def test_server_killed_under_load_keeps_acknowledged_commands(
    service: Service, thorough: bool
) -> None:
    rng = random.Random(5)
    async with under_load(service, "killed", thorough=thorough) as load:
        for _ in range(12 if thorough else 2):
            await asyncio.sleep(rng.uniform(0.05, 0.8))
            await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.start)
            await load.answered(50)
    assert_log_contains(service.events(), load.answers)
    await assert_views_follow(service)


async def test_postgres_killed_under_load_is_restarted_automatically(
    service: Service, thorough: bool
) -> None:
    async with under_load(service, "postgres-killed", thorough=thorough) as load:
        for _ in range(8 if thorough else 2):
            os.kill(service.postgres()[0], signal.SIGKILL)
            await asyncio.sleep(0.5)
            assert (await healthy(service)).status_code == 200
            await asyncio.to_thread(service.wait_until_ready, 20)
            await load.answered(50)
    assert all(refusal.headers["retry-after"] for refusal in load.refusals)
    assert_log_contains(service.events(), load.answers)
    await assert_views_follow(service)


async def healthy(service: Service) -> httpx.Response:
    async with httpx.AsyncClient(timeout=1) as client:
        return await client.get(f"{service.url}/healthz")
