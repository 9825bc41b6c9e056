"""Unreadable or archived parts of the log keep no other event from its webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from domain.catalog.webhook_commands import CreateWebhook, UpdateWebhook
from domain.damage import REPORTS
from domain.eventlog.archive import limited_archive, reader
from domain.execution.commands import UpdateProgress
from domain.writer.message import Message
from projections.deliveries.health import health_of
from projections.deliveries.projection import Deliveries
from projections.deliveries.requests import rewind
from projections.deliveries.totals import delivery_totals
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


def sent_to(world: World, url: str) -> list[str]:
    """Subject and version of each event sent to a URL."""
    events = [orjson.loads(body) for to, _, body in world.client.sent if to == url]
    return [f"{event['subject']} {event['version']}" for event in events]


async def archive_execution(world: World, folder: Path, worker: DeliveryWorker) -> int:
    """An archived execution that was sent to a webhook of the log."""
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


async def test_only_webhooks_whose_past_is_in_an_unreachable_archive_wait(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    await archive_execution(world, tmp_path, worker)
    take_away(tmp_path)
    await rewind(world.connection, "w", 0, world.now)
    await world.begin_hooked("f", hook(OTHER))
    await world.call(worker)
    assert sent_to(world, OTHER) == ["f 1", "f 2", "f 3"]
    assert sent_to(world, URL) == []
    bring_back(tmp_path, monkeypatch)
    await world.call(worker)
    assert sorted(sent_to(world, URL)) == ["e 1", "e 2", "e 3", "f 1", "f 2", "f 3"]


async def test_only_lanes_whose_events_are_in_an_unreachable_archive_wait(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    await archive_execution(world, tmp_path, worker)
    await rewind(world.connection, "w", 0, world.now)
    await world.enter(worker)
    take_away(tmp_path)
    await world.begin_hooked("f", hook(OTHER))
    await world.call(worker)
    assert sent_to(world, OTHER) == ["f 1", "f 2", "f 3"]
    assert sent_to(world, URL) == ["f 1", "f 2", "f 3"]
    bring_back(tmp_path, monkeypatch)
    await world.call(worker, LOOK_AGAIN)
    assert sent_to(world, URL)[3:] == ["e 1", "e 2", "e 3"]


@pytest.mark.parametrize("meta", ["{", "7", '{"occurredAt": "never"}'])
async def test_only_an_event_with_damaged_metadata_is_skipped(world: World, meta: str) -> None:
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
        assert sorted(sent_to(world, url)) == ["e 1", "e 3", "f 1", "f 2", "f 3"]


UNREADABLE = "What this webhook asks for cannot be read by this version of the service."
FILTERS = {
    "of a later version": ("filter", '{"notYet": 7}'),
    "no JSON": ("filter", "{"),
    "no filter": ("filter", "7"),
    "another operator": ("filter", '{"service": {"$like": "s"}}'),
    "scope": ("scope", '{"notYet": 7}'),
    "events": ("events", "{NULL}"),
}


async def damage(world: World, column: str, value: str | None) -> None:
    """Change the row of webhook `w`."""
    change = f"UPDATE webhooks SET {column} = %s WHERE webhook = 'w'"  # noqa: S608 - our constants
    await world.connection.execute(change.encode(), (value,))


@pytest.mark.parametrize("damaged", FILTERS)
async def test_only_a_webhook_with_an_unreadable_filter_waits(world: World, damaged: str) -> None:
    column, value = FILTERS[damaged]
    for identity, url in (("w", URL), ("v", OTHER)):
        settings = orjson.dumps({"url": url, "events": ["execution.*"]})
        command = CreateWebhook.model_validate_json(settings)
        await world.bus.send(Message(f"webhook/{identity}", command, "tester"))
    await world.begin("e")
    await world.call(world.worker())
    await damage(world, column, value)
    with capture_logs() as logs:
        REPORTS.forget()
        worker = world.worker()
        for name in ("f", "g"):
            await world.begin_hooked(name, hook("https://c.example/"))
            await world.call(worker, MINUTE)
    assert len(sent_to(world, OTHER)) == 9
    assert len(sent_to(world, "https://c.example/")) == 6
    assert sent_to(world, URL) == ["e 1", "e 2", "e 3"]
    assert [line["stream"] for line in logs if line["log_level"] == "error"] == ["webhook/w"]
    health = (await health_of(world.connection, ["w"]))["w"]
    assert (health.state, health.document()["lastError"]) == ("failing", UNREADABLE)
    assert (await delivery_totals(world.connection, world.now, 9)).failing == 1


@pytest.mark.parametrize("by_event", [True, False])
async def test_webhook_whose_filter_is_repaired_gets_the_missed_events(
    world: World, by_event: bool
) -> None:
    settings = b'{"url": "https://a.example/", "events": ["execution.*"]}'
    command = CreateWebhook.model_validate_json(settings)
    await world.bus.send(Message("webhook/w", command, "tester"))
    worker = world.worker()
    await world.call(worker)
    await damage(world, "filter", '{"notYet": 7}')
    worker = world.worker()
    await world.begin("e")
    await world.call(worker)
    if by_event:
        change = UpdateWebhook(filter={"service": "s"})
        await world.bus.send(Message("webhook/w", change, "tester"))
    else:
        await damage(world, "filter", None)
    await world.call(worker)
    await world.begin("f")
    await world.call(worker)
    assert sent_to(world, URL) == ["e 1", "e 2", "e 3", "f 1", "f 2", "f 3"]
    health = (await health_of(world.connection, ["w"]))["w"]
    assert (health.state, health.behind, health.fault) == ("delivered", 0, None)


async def test_only_a_webhook_that_needs_an_archived_state_waits_while_the_archive_is_away(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_states = {
        "https://s.example/": {"status": "running"},
        "https://t.example/": {"tag": "eu"},
        "https://other.example/": {"$and": [{"customer": "another"}, {"tag": "eu"}]},
    }
    for number, (url, wanted) in enumerate(of_states.items()):
        settings = orjson.dumps({"url": url, "events": ["execution.*"], "filter": wanted})
        command = CreateWebhook.model_validate_json(settings)
        await world.bus.send(Message(f"webhook/s{number}", command, "tester"))
    await archive_execution(world, tmp_path, world.worker())
    await world.send("e", UpdateProgress(progress=5))
    take_away(tmp_path)
    worker = world.worker()  # one without cached states
    await world.begin_hooked("f", hook(OTHER), tags=("eu",))
    await world.call(worker)
    assert sent_to(world, OTHER) == ["f 1", "f 2", "f 3"]
    assert sent_to(world, URL)[:3] == ["f 1", "f 2", "f 3"]
    assert not any(sent_to(world, url) for url in of_states)
    behind = "SELECT webhook FROM webhook_progress WHERE position IS NOT NULL ORDER BY webhook"
    rows = await (await world.connection.execute(behind)).fetchall()
    assert rows == [("s0",), ("s1",)]  # a filter on another party needs no state
    health = (await health_of(world.connection, ["s0"]))["s0"]
    assert "archive" in str(health.document()["lastError"])
    assert worker._dispatcher.retry_at is not None
    bring_back(tmp_path, monkeypatch)
    await world.call(worker)
    assert sorted(sent_to(world, "https://s.example/")) == ["e 4", "f 3"]
    assert sent_to(world, "https://t.example/") == ["f 1", "f 2", "f 3"]
    assert await (await world.connection.execute(behind)).fetchall() == []
    assert worker._dispatcher.retry_at is None


async def test_only_a_webhook_of_an_unreadable_execution_waits(
    world: World,
) -> None:
    worker = world.worker()
    await world.begin_hooked("e", hook(URL))
    await world.begin_hooked("f", hook(OTHER))
    await world.call(worker)
    change = "UPDATE webhooks SET events = %s WHERE stream = 'execution/e'"
    await world.connection.execute(change, (["completed", None],))
    for name in ("e", "f"):
        await world.send(name, UpdateProgress(progress=5))
    await world.call(worker, MINUTE)
    assert (sent_to(world, URL), sent_to(world, OTHER)[3:]) == (["e 1", "e 2", "e 3"], ["f 4"])
    await world.connection.execute(change, (["execution.*"],))
    await world.send("e", UpdateProgress(progress=6))
    await world.call(worker, MINUTE)
    assert sent_to(world, URL)[3:] == ["e 4", "e 5"]
