"""A process notices that the master key of its log has changed or is being changed."""

from __future__ import annotations

import asyncio

import pytest

from domain.eventlog.keys.key_monitor import KeyMonitor
from domain.eventlog.keys.rotation import begin
from tests.domain.eventlog.keys.test_former_key import NEW, OLD, SCHEMA, rotate, served

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("done", [True, False])
async def test_change_of_the_master_key_is_noticed(database: str, *, done: bool) -> None:
    async with served(database) as (store, _):
        called = asyncio.Event()
        watch = KeyMonitor(store, called.set)
        watch.start()
        try:
            await asyncio.sleep(0.1)
            assert not watch.changed
            if done:
                rotate(database)
            else:
                begin(database, SCHEMA, OLD, NEW)
            await asyncio.wait_for(called.wait(), 10)
            assert watch.changed
        finally:
            await watch.stop()
