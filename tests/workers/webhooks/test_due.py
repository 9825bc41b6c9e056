"""The process that calls webhooks waits until the next call is due."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from math import inf
from typing import Any

import pytest
from psycopg import AsyncConnection

from projections.deliveries.projection import Deliveries
from tests.support.followed_log import NOON
from tests.support.hooked_log import OK, World, hook
from workers.webhooks import deliveries
from workers.webhooks.caller import WebhookCaller
from workers.webhooks.deliveries import DeliveryWorker, WebhookWorker
from workers.webhooks.http_connection import Response

pytestmark = pytest.mark.anyio
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
BROKEN = Response(500, b"", None)


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Deliveries()) as opened:
        yield opened


async def test_next_call_is_due_when_the_next_event_is_due(world: World) -> None:
    worker = world.worker()
    assert await worker.next_due_at() is None
    answers = {"a": BROKEN, "b": Response(503, b"", "30"), "c": BROKEN, "d": OK}
    world.client.answer = lambda url: answers[url.partition("//")[2][0]]
    for name in answers:
        await world.begin_hooked(f"e-{name}", hook(f"https://{name}.example/", "started"))
    await world.call(worker)
    assert await worker.next_due_at() == NOON + MINUTE
    await world.begin_hooked("f", hook("https://b.example/", "started"))
    await world.call(worker)  # b has asked for more time
    assert await worker.next_due_at() == NOON + 30 * SECOND


class WaitingWorker(WebhookWorker):
    """Stores the arguments of each wait for work."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.waits: list[tuple[float | None, float]] = []
        self.waited = asyncio.Event()

    async def wait_for_work(
        self,
        connection: AsyncConnection,
        seconds: float | None = None,
        due_in: Callable[[], float] = lambda: inf,
        *,
        needs: bool = True,
    ) -> None:
        self.waits.append((seconds, due_in()))
        self.waited.set()
        await self.wake.wait(60)


async def test_worker_waits_until_the_next_event_is_due_however_long(world: World) -> None:
    writer, caller = world.guarded_writer, WebhookCaller(world.store, world.client)
    chances = {"clock": lambda: world.now, "chance": lambda: 0.0}
    work = WaitingWorker(caller, world.store, writer, "", **chances)
    world.client.answer = lambda _: Response(500, b"", "7200")
    await world.begin_hooked("e", hook("https://a.example/", "started"))
    await world.follow()
    running = asyncio.create_task(work.run(world.connection))
    async with asyncio.timeout(60):
        while not work.waits or work.waits[-1][1] != 7200.0:
            work.waited.clear()
            await work.waited.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert work.waits[-1] == (None, 7200.0)


async def test_events_gather_before_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Event()

    async def look(_: DeliveryWorker) -> bool:
        assert not looked.is_set()
        looked.set()
        return False

    monkeypatch.setattr(DeliveryWorker, "step", look)
    monkeypatch.setattr(deliveries, "GATHERS", 60.0)
    writer, caller = world.guarded_writer, WebhookCaller(world.store, world.client)
    chances = {"clock": lambda: world.now, "chance": lambda: 0.0}
    work = WaitingWorker(caller, world.store, writer, "", **chances)
    running = asyncio.create_task(work.run(world.connection))
    await looked.wait()
    work.wake.set()
    _, pending = await asyncio.wait([running], timeout=0.1)
    assert pending
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
