"""Webhooks of the whole log get the events they subscribe to, and the log records their failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import orjson
import pytest

from domain.catalog.user import CreateUser
from domain.catalog.webhook_commands import (
    CreateWebhook,
    DisableWebhook,
    EnableWebhook,
    RemoveWebhook,
    UpdateWebhook,
)
from domain.execution.commands import CompleteExecution, UpdateProgress
from domain.model import Command
from domain.writer.message import Message
from projections.deliveries.health import health_of
from projections.deliveries.projection import Deliveries
from projections.deliveries.requests import of_log, redeliver_failed
from projections.deliveries.totals import delivery_totals, waiting_for
from tests.support.hooked_log import OK, World, hook
from workers.webhooks import catch_up, deliveries, dispatcher
from workers.webhooks.health_reports import DISABLE_AFTER
from workers.webhooks.http_client import CallFailed
from workers.webhooks.http_connection import Response

pytestmark = pytest.mark.anyio
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BROKEN = Response(500, b"", None)
DONE = CompleteExecution(success=True, output=None, summary="done")
URL = "https://a.example/"


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Deliveries()) as opened:
        yield opened


async def command(world: World, stream: str, sent: Command[Any]) -> int:
    answer = await world.bus.send(Message(stream, sent, "tester"))
    return answer.versioned.position


async def create_webhook(world: World, identity: str = "w", url: str = URL, **settings: Any) -> int:
    body = orjson.dumps({"url": url, **settings})
    return await command(world, f"webhook/{identity}", CreateWebhook.model_validate_json(body))


def sent_to(world: World, url: str = URL) -> list[str]:
    """Subject and type of each event sent to a URL."""
    events = [orjson.loads(body) for to, _, body in world.client.sent if to == url]
    return [f"{event['subject']} {event['type'].removeprefix('execution.')}" for event in events]


async def log_types(world: World, stream: str) -> list[str]:
    return [row.type for row in await world.store.history(stream)]


async def test_webhook_gets_later_events_of_all_streams(world: World) -> None:
    worker = world.worker()
    await world.begin("before")
    await create_webhook(world, events=["started", "user.*"])
    await world.begin("e")
    await command(world, "user/u", CreateUser(name="U", kind="person"))
    await world.call(worker)
    assert sorted(sent_to(world)) == ["e started", "u user.created"]


async def test_log_without_webhooks_is_passed_in_one_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "PAGE", 2)
    worker = world.worker()
    await create_webhook(world, events=["started"])
    await world.begin("called")
    await world.call(worker)
    await command(world, "webhook/w", RemoveWebhook())
    await world.call(worker)
    for number in range(5):
        await world.begin(f"unwatched-{number}")
    await world.follow()
    assert not await worker._dispatcher.step()
    await create_webhook(world, "other", events=["started"])
    await world.begin("e")
    await world.call(worker)
    assert sent_to(world) == ["called started", "e started"]


@pytest.mark.parametrize("begins", [0, 3, 9])
async def test_webhook_that_begins_in_the_past_gets_its_events_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch, begins: int
) -> None:
    monkeypatch.setattr(catch_up, "PAGE", 2)
    monkeypatch.setattr(catch_up, "PAST", 4)
    worker = world.worker()
    await world.begin("e-0", "e-1", "e-2")
    await world.call(worker)
    past: dict[str, Any] = {"from": begins}
    own = await create_webhook(world, events=["*"], **past)
    await world.begin("e-3")
    await world.send("e-0", UpdateProgress(progress=5))
    await world.call(worker)
    events = [orjson.loads(body) for _, _, body in world.client.sent]
    positions = {event["position"] for event in events}
    assert positions == set(range(begins + 1, 15)) - {own}
    assert len(events) == len(positions)
    of_e = [event["position"] for event in events if event["subject"] == "e-0"]
    assert of_e == sorted(of_e)


@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        ({"service": "s"}, {"e", "f"}),
        ({"service": "other"}, set()),
        ({"customer": "c", "tag": "eu"}, {"e"}),
        ({"customer": "nobody"}, set()),
        ({"status": "completed"}, {"f"}),
        ({"$or": [{"tag": "eu"}, {"status": "completed"}]}, {"e", "f"}),
    ],
)
async def test_filter_works_as_for_streams(
    world: World, wanted: dict[str, Any], subjects: set[str]
) -> None:
    worker = world.worker()
    await create_webhook(world, events=["*"], filter=wanted)
    await world.begin("e", tags=("eu",))
    await world.begin("f")
    await world.send("f", DONE)
    await command(world, "user/u", CreateUser(name="U", kind="person"))
    await world.call(worker)
    assert {line.split()[0] for line in sent_to(world)} == subjects


async def test_stream_is_sent_in_order_and_delays_no_other(world: World) -> None:
    worker = world.worker()
    await create_webhook(world, events=["execution.*"])
    await world.begin("e", "f")
    refused = {"e"}
    world.client.refuses = lambda body: orjson.loads(body)["subject"] in refused
    await world.call(worker)
    refused.clear()
    await world.call(worker, MINUTE)
    assert [line for line in sent_to(world) if line.startswith("f")] == [
        "f created",
        "f starting",
        "f started",
    ]
    assert [line for line in sent_to(world) if line.startswith("e")] == [
        "e created",
        "e created",
        "e starting",
        "e started",
    ]


async def test_failure_and_recovery_of_a_webhook_are_recorded_once(world: World) -> None:
    worker = world.worker()
    await create_webhook(world, events=["execution.started"])
    await create_webhook(world, "other", "https://b.example/", events=["webhook.*"])
    await world.begin("e")
    world.client.answer = lambda url: OK if "b." in url else BROKEN
    await world.call(worker)
    assert await log_types(world, "webhook/w") == ["webhook.created"]
    await world.call(worker, MINUTE)
    await world.call(worker, 5 * MINUTE)
    assert (await log_types(world, "webhook/w"))[1:] == ["webhook.failing"]
    world.client.answer = lambda _: OK
    await world.call(worker, 30 * MINUTE)
    assert (await log_types(world, "webhook/w"))[2:] == ["webhook.recovered"]
    received = sent_to(world, "https://b.example/")
    assert received == ["w webhook.failing", "w webhook.recovered"]


async def test_webhook_is_disabled_after_five_days_of_failure(world: World) -> None:
    worker = world.worker()
    await create_webhook(world, events=["*"])
    world.client.answer = lambda _: BROKEN
    await world.begin("e-0")
    await world.call(worker)
    for day in range(1, 5):
        await world.begin(f"e-{day}")
        await world.call(worker, DAY)
    assert "webhook.disabled" not in await log_types(world, "webhook/w")
    await world.begin("last")
    await world.call(worker, DISABLE_AFTER - 4 * DAY)
    assert (await log_types(world, "webhook/w"))[-1] == "webhook.disabled"
    called = len(world.client.sent)
    await world.begin("ignored")
    await world.call(worker, DAY)
    assert len(world.client.sent) == called
    assert await world.count("webhook_lanes") == 0
    assert (await world.health("", "w")).state == "disabled"


async def test_enabled_webhook_has_five_days_from_its_next_failure(world: World) -> None:
    worker = world.worker()
    await create_webhook(world, events=["started"])
    world.client.answer = lambda _: BROKEN
    await world.begin("e")
    await world.call(worker)
    await world.call(worker, MINUTE)
    await command(world, "webhook/w", DisableWebhook())
    await world.call(worker)
    assert (await delivery_totals(world.connection, world.now, 10)).failing == 0
    await command(world, "webhook/w", EnableWebhook())
    await world.begin("f")
    await world.call(worker, DISABLE_AFTER)
    await world.call(worker, MINUTE)
    changes = [type_.removeprefix("webhook.") for type_ in await log_types(world, "webhook/w")]
    assert changes == ["created", "failing", "disabled", "enabled", "failing"]


async def test_waiting_events_of_all_webhooks_are_counted_by_one_query(world: World) -> None:
    worker = world.worker()
    for webhook in ("a", "b", "idle"):
        await create_webhook(world, webhook, events=["started", "progress"][: 1 + (webhook == "b")])
    world.client.answer = lambda _: BROKEN
    await world.begin("e")
    await world.send("e", UpdateProgress(progress=5))
    await world.call(worker)
    waiting = await waiting_for(world.connection, ["a", "b", "unknown"])
    assert waiting == {"a": 1, "b": 2, "unknown": 0}


async def test_removed_webhook_does_not_count_as_failing_and_is_not_listed(
    world: World,
) -> None:
    worker = world.worker()
    await create_webhook(world, events=["started"])
    world.client.answer = lambda _: BROKEN
    await world.begin("e")
    await world.call(worker)
    assert (await delivery_totals(world.connection, world.now, 10)).failing == 1
    await command(world, "webhook/w", RemoveWebhook())
    await world.call(worker)
    assert (await delivery_totals(world.connection, world.now, 10)).failing == 0
    assert await of_log(world.connection, "", 10) == []


async def test_failing_webhook_of_an_execution_names_the_execution(world: World) -> None:
    worker = world.worker()
    world.client.answer = lambda _: Response(410, b"", None)
    await world.begin_hooked("e", hook(id="wh_1"))
    await world.call(worker)
    [row] = await world.store.history("webhook/wh_1")
    assert orjson.loads(row.data) == {
        "execution": "e",
        "customer": "c",
        "provider": "p",
        "reason": "gone",
    }
    assert orjson.loads(row.meta)["customer"] == "c"


async def test_disabled_webhook_gets_nothing_until_it_is_enabled(world: World) -> None:
    worker = world.worker()
    await create_webhook(world, events=["started"])
    await command(world, "webhook/w", DisableWebhook())
    await world.begin("e")
    await world.call(worker)
    await command(world, "webhook/w", EnableWebhook())
    await world.begin("f")
    await world.call(worker)
    assert sent_to(world) == ["f started"]


async def test_webhook_enabled_after_a_failure_is_idle_until_its_next_call(
    world: World,
) -> None:
    worker = world.worker()
    await create_webhook(world, events=["started"])
    world.client.answer = lambda _: Response(410, b"", None)
    await world.begin("e")
    await world.call(worker)
    await world.call(worker, MINUTE)
    await command(world, "webhook/w", EnableWebhook())
    world.client.answer = lambda _: OK
    await world.call(worker)
    health = (await health_of(world.connection, ["w"]))["w"]
    assert (health.state, health.given_up, health.status) == ("idle", 1, 410)
    await world.begin("f")
    await world.call(worker)
    assert (await health_of(world.connection, ["w"]))["w"].state == "delivered"


async def test_removed_webhook_gets_nothing(world: World) -> None:
    worker = world.worker()
    await create_webhook(world, events=["started"])
    await world.begin("e")
    await command(world, "webhook/w", RemoveWebhook())
    await world.call(worker)
    assert sent_to(world) == []
    assert await world.count("webhook_lanes") == 0


async def test_change_of_the_url_sends_waiting_events_at_once(world: World) -> None:
    worker = world.worker()
    await create_webhook(world, events=["started"])
    await world.begin("e")
    world.client.answer = lambda _: BROKEN
    await world.call(worker)
    world.client.answer = lambda _: OK
    await command(world, "webhook/w", UpdateWebhook(url="https://b.example/"))
    await world.call(worker)
    assert sent_to(world, "https://b.example/") == ["e started"]


async def test_failed_deliveries_since_a_time_are_sent_again(world: World) -> None:
    worker = world.worker()
    await create_webhook(world, events=["started"])
    await world.begin("e")
    world.client.answer = lambda _: BROKEN
    for minutes in (0, 1, 5, 30, 120, 720):
        await world.call(worker, minutes * MINUTE)
    world.client.answer = lambda _: OK
    later = world.now + MINUTE
    assert await redeliver_failed(world.connection, "w", later, world.now) == 0
    assert await redeliver_failed(world.connection, "w", world.now, world.now) == 1
    await world.call(worker)
    assert sent_to(world) == ["e started"] * 7
    assert (await world.health("", "w")).state == "delivered"


async def test_call_without_an_answer_is_retried(world: World) -> None:
    worker = world.worker()

    def fail(_: str) -> Response:
        raise CallFailed("no answer within 15 s")

    world.client.answer = fail
    await create_webhook(world, events=["started"])
    await world.begin("e")
    await world.call(worker)
    world.client.answer = lambda _: OK
    await world.call(worker, MINUTE)
    assert sent_to(world) == ["e started"] * 2


class ChangingReceiver:
    """A receiver whose webhook is changed during the first call of URL. It accepts calls of all other URLs."""

    def __init__(self, world: World, change: Command[Any], answer: Response) -> None:
        self._world = world
        self._change: Command[Any] | None = change
        self._answer = answer

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        await self._world.client.post(url, headers, body)
        if self._change is not None:
            await command(self._world, "webhook/w", self._change)
            await self._world.follow()
            self._change = None
        return self._answer if url == URL else OK


@pytest.mark.parametrize(
    ("change", "sent_elsewhere"),
    [
        (UpdateWebhook(url="https://b.example/"), ["e starting", "e started"]),
        (DisableWebhook(), []),
        (RemoveWebhook(), []),
    ],
)
async def test_changed_webhook_gets_no_event_before_its_new_position(
    world: World, monkeypatch: pytest.MonkeyPatch, change: Command[Any], sent_elsewhere: list[str]
) -> None:
    monkeypatch.setattr(deliveries, "FRESH", 0.0)
    await create_webhook(world, events=["execution.*"])
    await world.begin("e")
    await world.call(world.worker(ChangingReceiver(world, change, OK)))
    assert sent_to(world) == ["e created"]
    assert sent_to(world, "https://b.example/") == sent_elsewhere


async def test_answer_410_of_a_former_url_disables_nothing_and_loses_no_event(
    world: World,
) -> None:
    await create_webhook(world, events=["execution.started"])
    await world.begin("e")
    change = UpdateWebhook(url="https://b.example/")
    await world.call(world.worker(ChangingReceiver(world, change, Response(410, b"", None))))
    assert sent_to(world, "https://b.example/") == ["e started"]
    assert await log_types(world, "webhook/w") == ["webhook.created", "webhook.updated"]
