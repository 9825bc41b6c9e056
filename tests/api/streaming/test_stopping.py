"""A hub stops although its tasks are waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.streaming.hub import Hub
from api.streaming.log.tail import Idle, LogPage
from domain import supervisor
from tests.support.memory_log import MemoryLog, MemoryTail


class ImpatientTail(MemoryTail):
    """Waits with `asyncio.wait_for`, as for a connection of the pool."""

    async def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        while True:
            await asyncio.wait_for(self._woken.wait(), 60)
            self._woken.clear()
            yield LogPage((), 0)


@pytest.mark.anyio
@pytest.mark.parametrize("turns", range(5))
async def test_hub_stops_although_its_task_is_cancelled_and_woken_at_once(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    monkeypatch.setattr(supervisor, "CANCEL_AGAIN", 0.01)
    log = MemoryLog()
    woken = ImpatientTail(log)
    hub = Hub(woken, log, cast(Any, SimpleNamespace()), 10)
    hub.start()
    await asyncio.sleep(0.01)
    woken.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(hub.stop())
    ended, _ = await asyncio.wait({stopping}, timeout=5)
    assert ended == {stopping}
