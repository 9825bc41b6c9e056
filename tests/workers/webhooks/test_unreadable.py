"""What of the log cannot be read, or not now, keeps no other event from its webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from domain.catalog.webhook_commands import CreateWebhook
from domain.eventlog.archive import limited_archive, reader
from domain.writer.message import Message
from projections.deliveries.projection import Deliveries
from projections.deliveries.requests import rewind_log_webhook
from tests.support.hooked_log import World, hook
from tests.support.past_events import archive_first
from workers.webhooks.deliveries import LOOK_AGAIN, DeliveryWorker

pytestmark = pytest.mark.anyio
URL, OTHER = "https://a.example/", "https://b.example/"
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Deliveries()) as opened:
        yield opened


def came(world: World, url: str) -> list[str]:
    """Subject and version of what was sent to a URL."""
    events = [orjson.loads(body) for to, _, body in world.client.sent if to == url]
    return [f"{event['subject']} {event['version']}" for event in events]


async def archived(world: World, folder: Path, worker: DeliveryWorker) -> int:
    """An execution that is archived, and was sent to a webhook of the log."""
    settings = b'{"url": "https://a.example/", "events": ["execution.*"]}'
    command = CreateWebhook.model_validate_json(settings)
    answer = await world.bus.send(Message("webhook/w", command, "tester"))
    await world.begin("e")
    await world.call(worker)
    world.client.sent.clear()
    until = answer.versioned.position + 3
    await archive_first(world.store, world.connection, world.guarded_writer, folder, until)
    return until


def take_away(folder: Path) -> None:
    (folder / "archive").rename(folder / "away")
    reader.BLOCK_CACHE.__init__()  # type: ignore[misc]  # as in another process


def bring_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "away").rename(folder / "archive")
    monkeypatch.setattr(limited_archive, "RETRY_AFTER", 0.0)
    reader._archive.cache_clear()


async def test_webhook_whose_past_is_in_an_archive_that_is_away_waits_and_no_other_does(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    await archived(world, tmp_path, worker)
    take_away(tmp_path)
    await rewind_log_webhook(world.connection, "w", 0, world.now)
    await world.begin_hooked("f", hook(OTHER))
    await world.call(worker)
    assert came(world, OTHER) == ["f 1", "f 2", "f 3"]
    assert came(world, URL) == []
    bring_back(tmp_path, monkeypatch)
    await world.call(worker)
    assert sorted(came(world, URL)) == ["e 1", "e 2", "e 3", "f 1", "f 2", "f 3"]


async def test_lane_whose_events_are_in_an_archive_that_is_away_waits_and_no_other_does(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    await archived(world, tmp_path, worker)
    await rewind_log_webhook(world.connection, "w", 0, world.now)
    await world.enter(worker)
    take_away(tmp_path)
    await world.begin_hooked("f", hook(OTHER))
    await world.call(worker)
    assert came(world, OTHER) == ["f 1", "f 2", "f 3"]
    assert came(world, URL) == ["f 1", "f 2", "f 3"]
    bring_back(tmp_path, monkeypatch)
    await world.call(worker, LOOK_AGAIN)
    assert came(world, URL)[3:] == ["e 1", "e 2", "e 3"]


@pytest.mark.parametrize("meta", ["{", "7", '{"occurredAt": "never"}'])
async def test_event_whose_metadata_is_damaged_is_passed_over_and_no_other_is(
    world: World, meta: str
) -> None:
    settings = b'{"url": "https://a.example/", "events": ["execution.*"]}'
    command = CreateWebhook.model_validate_json(settings)
    await world.bus.send(Message("webhook/w", command, "tester"))
    await world.begin_hooked("e", hook(OTHER))
    await world.begin_hooked("f", hook(OTHER))
    await world.connection.execute("ALTER TABLE events DISABLE TRIGGER append_only")
    damage = "UPDATE events SET meta = %s WHERE originator_id = 'execution/e' AND topic = %s"
    await world.connection.execute(damage, (meta, "execution.starting"))
    await world.call(world.worker())
    for url in (URL, OTHER):
        assert sorted(came(world, url)) == ["e 1", "e 3", "f 1", "f 2", "f 3"]
