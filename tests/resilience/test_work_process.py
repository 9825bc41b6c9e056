"""Work processes of two servers are killed under load in turn: each takes over from the other."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.support.databases import reachable_folder
from tests.support.load import assert_log_contains, assert_views_follow, under_load
from tests.support.service_process import Service

pytestmark = pytest.mark.anyio


async def test_views_change_owners_between_two_servers_under_load_and_lose_nothing(
    service: Service, thorough: bool
) -> None:
    with reachable_folder() as folder:
        for name in ("master.key", "admin.token"):
            if (service.data / name).exists():
                (folder / name).write_bytes((service.data / name).read_bytes())
                (folder / name).chmod(0o600)
        other = Service(folder, service.conninfo)
        await asyncio.to_thread(other.start)
        try:
            async with under_load(service, "owners", thorough=thorough) as load:
                for turn in range(8 if thorough else 2):
                    owner = (service, other)[turn % 2]
                    killed = await asyncio.to_thread(owner.work_process)
                    os.kill(killed, signal.SIGKILL)
                    await load.answered(50)
                    await asyncio.to_thread(owner.work_process, other_than=killed)
        finally:
            await asyncio.to_thread(other.close)
    assert_log_contains(service.events(), load.answers)
    await assert_views_follow(service)
