"""A rewound webhook gets its past page by page, in order and without gaps, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from domain.catalog.webhook_commands import CreateWebhook, DisableWebhook
from domain.execution.commands import UpdateExecution, UpdateProgress
from domain.writer.message import Message
from projections.deliveries.projection import Deliveries
from projections.deliveries.queue import enter
from projections.deliveries.requests import rewind
from projections.deliveries.totals import delivery_totals
from tests.support.hooked_log import OK, World, hook
from tests.support.past_events import archive_first
from workers.webhooks import catch_up
from workers.webhooks.http_connection import Response

pytestmark = pytest.mark.anyio
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
URL, OTHER = "https://a.example/", "https://v.example/"
OF_E = "e/wh-1"
POSITIONS = "SELECT position FROM webhook_progress WHERE position IS NOT NULL"


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Deliveries()) as opened:
        yield opened


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "PAGE", 2)
    monkeypatch.setattr(catch_up, "PAST", 4)


async def create_webhook(
    world: World, identity: str = "w", url: str = URL, **settings: object
) -> int:
    body = orjson.dumps({"url": url, **settings})
    command = CreateWebhook.model_validate_json(body)
    answer = await world.bus.send(Message(f"webhook/{identity}", command, "tester"))
    return answer.versioned.position


async def long_execution(world: World, url: str = URL) -> None:
    """An execution of eight events, with a webhook."""
    await world.begin_hooked("e", hook(url))
    for progress in range(1, 6):
        await world.send("e", UpdateProgress(progress=progress))


def versions(world: World, url: str = URL) -> list[int]:
    return [version for version, _ in world.client.received(url)]


@pytest.mark.parametrize("webhook", ["w", OF_E])
async def test_rewound_webhook_gets_everything_again_in_order(
    world: World, small_pages: None, webhook: str
) -> None:
    worker = world.worker()
    first = await create_webhook(world, "w", OTHER, events=["execution.*"])
    await long_execution(world)
    await world.call(worker)
    world.client.sent.clear()
    await world.send("e", UpdateProgress(progress=6))
    await rewind(world.connection, webhook, first + 2, world.now)
    await world.call(worker)
    rewound, other = (OTHER, URL) if webhook == "w" else (URL, OTHER)
    assert versions(world, rewound) == [3, 4, 5, 6, 7, 8, 9]
    assert versions(world, other) == [9]


@pytest.mark.parametrize("webhook", ["w", OF_E])
async def test_page_of_a_rewound_webhook_is_queued_in_one_transaction_and_a_crash_skips_none(
    world: World, small_pages: None, monkeypatch: pytest.MonkeyPatch, webhook: str
) -> None:
    worker = world.worker()
    await create_webhook(world, "w", URL, events=["execution.*"])
    await long_execution(world, OTHER)
    await world.call(worker)
    world.client.sent.clear()
    await rewind(world.connection, webhook, 0, world.now)
    pages, crash_at = 0, 2

    async def crash(*values: object) -> None:
        nonlocal pages
        await enter(*values)  # type: ignore[arg-type]  # passed on
        pages += 1
        if pages == crash_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(catch_up, "enter", crash)
    with pytest.raises(KeyboardInterrupt):
        await world.call(worker)
    waiting = "webhook_deliveries WHERE state = 'waiting'"
    assert await world.count(waiting) <= 2
    await world.call(world.worker())
    assert pages >= 4
    assert versions(world, URL if webhook == "w" else OTHER) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_lagging_webhook_is_not_rewound_to_a_later_position(
    world: World, small_pages: None
) -> None:
    worker = world.worker()
    await long_execution(world)
    await world.call(worker)
    world.client.sent.clear()
    for position in (0, 5):
        await rewind(world.connection, OF_E, position, world.now)
    await world.call(worker)
    assert versions(world) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_event_recorded_during_a_rewind_is_sent_after_those_before_it(
    world: World, small_pages: None
) -> None:
    worker = world.worker()
    await long_execution(world)
    await world.call(worker)
    world.client.sent.clear()
    await rewind(world.connection, OF_E, 0, world.now)
    await world.send("e", UpdateProgress(progress=9))
    await world.follow()
    await worker._dispatcher.step()  # new events are queued, and a page of the past
    await worker.begin()
    await worker.settle()
    await world.call(worker)
    assert versions(world) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


class RewindingReceiver:
    """A receiver whose webhook is rewound during the first call of URL."""

    def __init__(self, world: World, webhook: str, position: int, answer: Response) -> None:
        self._world = world
        self._rewind: tuple[str, int] | None = (webhook, position)
        self._answer = answer

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        await self._world.client.post(url, headers, body)
        if self._rewind is not None and url == URL:
            async with self._world.store.reader() as connection:
                await rewind(connection, *self._rewind, self._world.now)
            self._rewind = None
            return self._answer
        return OK


@pytest.mark.parametrize("answer", [OK, Response(500, b"", None)])
@pytest.mark.parametrize("webhook", ["w", OF_E])
async def test_webhook_rewound_during_a_call_gets_all_events_in_order_afterwards(
    world: World, answer: Response, webhook: str
) -> None:
    if webhook == "w":
        await create_webhook(world, "w", URL, events=["execution.*"])
    await long_execution(world, URL if webhook == OF_E else OTHER)
    worker = world.worker()
    await world.enter(worker)
    receiver = RewindingReceiver(world, webhook, 0, answer)
    later = world.worker(receiver)
    await later.begin()
    await later.settle()
    await world.enter(later)
    await world.call(later)
    assert versions(world)[1:] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert await world.count("webhook_deliveries WHERE state <> 'delivered'") == 0


@pytest.mark.parametrize("webhook", ["w", OF_E])
async def test_rewind_ends_if_its_webhook_is_not_called_any_more(
    world: World, small_pages: None, webhook: str
) -> None:
    worker = world.worker()
    await create_webhook(world, "w", OTHER, events=["execution.*"])
    await long_execution(world)
    await world.call(worker)
    world.client.sent.clear()
    await rewind(world.connection, webhook, 0, world.now)
    if webhook == "w":
        await world.bus.send(Message("webhook/w", DisableWebhook(), "tester"))
    else:
        await world.send("e", UpdateExecution(webhooks=()))
    await world.call(worker)
    assert versions(world, OTHER if webhook == "w" else URL) == []
    assert await (await world.connection.execute(POSITIONS)).fetchall() == []


async def test_many_rewound_webhooks_take_turns(
    world: World, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "AT_ONCE", 2)
    worker = world.worker()
    names = [f"e{n}" for n in range(5)]
    for name in names:
        await world.begin_hooked(name, hook(f"https://{name}.example/"))
    await world.call(worker)
    world.client.sent.clear()
    for name in names:
        await rewind(world.connection, f"{name}/wh-1", 0, world.now)
    await world.call(worker)
    for name in names:
        assert versions(world, f"https://{name}.example/") == [1, 2, 3]


async def test_rewound_webhook_gets_archived_events(
    world: World, small_pages: None, tmp_path: Path
) -> None:
    worker = world.worker()
    for webhook, url, wanted in (
        ("w", URL, {"events": ["execution.*"]}),
        ("v", OTHER, {"filter": {"customer": "c"}}),
    ):
        last = await create_webhook(world, webhook, url, **wanted)
    await world.begin_hooked("e", hook("https://e.example/"))
    await world.begin("f")
    await world.call(worker)
    before = {url: sorted(sent_to(world, url)) for url in (URL, OTHER, "https://e.example/")}
    world.client.sent.clear()
    of_log = world.store, world.connection, world.guarded_writer
    await archive_first(*of_log, tmp_path, last + 6)
    for webhook in ("w", "v", OF_E):
        await rewind(world.connection, webhook, 1, world.now)
    await world.enter(worker)
    totals = await delivery_totals(world.connection, world.now + DAY, 9)
    assert totals.oldest == DAY.total_seconds()
    await world.call(worker)
    assert {url: sorted(sent_to(world, url)) for url in before} == before


def sent_to(world: World, url: str) -> list[tuple[str, int]]:
    """Subject and version of each event sent to a URL."""
    bodies = [orjson.loads(body) for to, _, body in world.client.sent if to == url]
    found = [(body["subject"], body["version"]) for body in bodies]
    for subject in {subject for subject, _ in found}:
        order = [version for known, version in found if known == subject]
        assert order == sorted(order)
    return found
