"""The stored status of a webhook is removed with the webhook; a log without webhooks is known as such."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from domain.execution.commands import UpdateExecution
from projections.deliveries.projection import Deliveries
from tests.support.hooked_log import World, hook
from workers.webhooks import deliveries
from workers.webhooks.http_connection import Response

pytestmark = pytest.mark.anyio
MINUTE = timedelta(minutes=1)
BROKEN = Response(500, b"", None)


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Deliveries()) as opened:
        yield opened


async def test_rows_of_a_webhook_are_removed_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "FORGOTTEN_AT_ONCE", 2)
    worker = world.worker()
    world.client.answer = lambda _: BROKEN
    names = ("a", "b", "c", "d", "e")
    for name in names:
        await world.begin_hooked(name, hook())
    await world.call(worker)
    for name in ("b", "e"):
        await world.send(name, UpdateExecution(webhooks=()))
    await world.call(worker, MINUTE)
    for _ in names:
        world.now += deliveries.FORGET_EVERY
        await worker._forget()
    rows = await world.connection.execute("SELECT webhook FROM webhook_progress ORDER BY webhook")
    assert [row[0] for row in await rows.fetchall()] == ["a/wh-1", "c/wh-1", "d/wh-1"]


async def test_rebuilt_read_model_removes_no_row_of_a_webhook(world: World) -> None:
    worker = world.worker()
    await world.begin_hooked("e", hook())
    await world.call(worker)
    await world.connection.execute("UPDATE bookmarks SET position = 0 WHERE view = 'deliveries'")
    await world.connection.execute("TRUNCATE webhooks, webhook_states")
    for _ in range(3):
        world.now += deliveries.FORGET_EVERY
        await worker._forget()
    assert await world.count("webhook_progress") == 1


async def test_log_is_without_webhooks_until_one_is_set_and_again_when_it_is_removed(
    world: World,
) -> None:
    worker, found = world.worker(), []
    found.append(await worker.has_webhooks())
    await world.begin_hooked("e", hook())
    await world.call(worker)
    found.append(await worker.has_webhooks())
    await world.send("e", UpdateExecution(webhooks=()))
    await world.call(worker)
    found.append(await worker.has_webhooks())
    assert found == [False, True, False]
