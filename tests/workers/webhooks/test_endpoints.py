"""An endpoint that does not answer or asks for time gets few calls, and delays no other endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import orjson
import pytest
from structlog.testing import capture_logs

from projections.deliveries.projection import Deliveries
from tests.support.followed_log import NOON
from tests.support.hooked_log import OK, World, hook
from workers.webhooks import deliveries, endpoints
from workers.webhooks.caller import Outcome
from workers.webhooks.endpoints import Endpoints
from workers.webhooks.http_client import CallFailed
from workers.webhooks.http_connection import Response
from workers.webhooks.retry_schedule import LONGEST_WISH

pytestmark = pytest.mark.anyio
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Deliveries()) as opened:
        yield opened


async def test_silent_endpoint_takes_one_slot_and_delays_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "AT_ONCE", 10)
    monkeypatch.setattr(deliveries, "OF_AN_ENDPOINT", 4)
    monkeypatch.setattr(endpoints, "OF_AN_ENDPOINT", 4)

    def answer(url: str) -> Response:
        if "dead." in url:
            raise CallFailed("no answer")
        return OK

    world.client.answer = answer
    for number in range(20):
        await world.begin_hooked(
            f"dead-{number}", hook(f"https://dead.example/{number}", "started")
        )
    await world.begin_hooked("live", hook("https://a.example/", "started"))
    await world.follow()
    worker = world.worker()
    while await worker._dispatcher.step():
        pass
    assert await worker.begin() == 4 + 1  # the answering one is among them
    await worker.settle()
    assert world.client.received() == [(3, "started")]
    # The lane of the answering one is empty by now, and one of the silent endpoint is called.
    assert await worker.begin() == 1 + 1
    await worker.settle()
    assert await worker.begin() == 1
    await worker.settle()


async def test_silent_endpoint_is_forgotten_once_nothing_can_wait_for_it(
    world: World,
) -> None:
    def time_out(_: str) -> Response:
        raise CallFailed("no answer")

    worker = world.worker()
    world.client.answer = time_out
    await world.begin_hooked("e", hook("https://a.example/", "started"))
    await world.call(worker)
    await worker.step()
    assert worker._endpoints._troubled
    world.now += 2 * LONGEST_WISH
    await worker._forget()
    assert not worker._endpoints._troubled


async def test_endpoint_that_asks_for_time_gets_no_event_within_a_minute(
    world: World,
) -> None:
    worker = world.worker()
    world.client.answer = lambda url: Response(429, b"", "600") if "a." in url else OK
    await world.begin_hooked("e", hook("https://a.example/", "started"))
    await world.call(worker)
    await world.begin_hooked("f", hook("https://a.example/", "started"))
    await world.begin_hooked("g", hook("https://a.example/", "started"))
    await world.begin_hooked("h", hook("https://b.example/", "started"))
    await world.call(worker, 59 * SECOND)
    assert [url for url, _, _ in world.client.sent] == ["https://a.example/", "https://b.example/"]
    await world.call(worker, SECOND)
    assert len(world.client.received()) == 2
    world.client.answer = lambda _: OK
    await world.call(worker, MINUTE)
    assert len(world.client.received()) == 3
    await world.call(worker, 9 * MINUTE)
    assert sorted(orjson.loads(body)["subject"] for _, _, body in world.client.sent) == list(
        "eeffgh"
    )


async def test_lane_stops_where_its_endpoint_asks_for_time(world: World) -> None:
    def answer(_: str) -> Response:
        worker._endpoints.note("https://a.example", asking, world.now)
        return OK

    worker, asking = world.worker(), Outcome(503, 0, error="answered 503", retry_after="60")
    world.client.answer = answer
    await world.begin_hooked("e", hook())
    await world.call(worker)
    assert len(world.client.sent) == 1
    await world.call(worker, MINUTE)
    assert len(world.client.sent) == 2


async def test_event_whose_call_fails_by_a_bug_is_retried_like_others(
    world: World,
) -> None:
    def fail(_: str) -> Response:
        raise ZeroDivisionError

    worker = world.worker()
    world.client.answer = fail
    await world.begin_hooked("e", hook("https://a.example/", "started"))
    with capture_logs() as logged:
        await world.call(worker)
    assert [entry["event"] for entry in logged] == ["webhook could not be called"]
    health = await world.health()
    assert (health.state, health.attempts, health.next_at) == ("failing", 1, NOON + MINUTE)
    assert health.error == deliveries.MISTAKE


async def test_event_that_cannot_be_sent_does_not_count_against_its_endpoint(world: World) -> None:
    worker = world.worker()
    await world.begin_hooked("e", hook("https://a.example/"))
    await world.connection.execute("DELETE FROM data_keys")
    world.store.keyring.forget()
    await world.call(worker)
    assert "cannot be read" in str((await world.health()).error)
    assert worker._endpoints.full(world.now) == []
    room = worker._endpoints.room(world.now)
    assert [room.take("https://a.example") for _ in range(2)] == [True, True]


@pytest.mark.parametrize(
    "bad",
    [
        Outcome(None, 15_000, error="no answer within 15 s"),
        Outcome(200, endpoints.SLOW),
        Outcome(503, 0, error="answered 503", retry_after="1"),
    ],
)
def test_slow_endpoints_leave_slots_for_the_others(
    monkeypatch: pytest.MonkeyPatch, bad: Outcome
) -> None:
    monkeypatch.setattr(endpoints, "OF_SLOW", 4)
    known, hosts = Endpoints(), [f"https://slow-{number}.example" for number in range(9)]
    for host in hosts:
        known.note(host, bad, NOON)
    later = NOON + MINUTE
    room = known.room(later)
    assert [room.take(host) for host in hosts] == [True] * 4 + [False] * 5
    for host in hosts[:4]:
        known.begin(host)
    assert set(known.full(later)) == set(hosts)
    assert known.room(later).take("https://a.example")
    known.end(hosts[0])
    assert known.room(later).take(hosts[8])
    for host in hosts:
        known.note(host, Outcome(200, 10), later)
    assert known.full(later) == []


async def test_silent_endpoints_take_no_more_than_their_share_of_the_slots(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "AT_ONCE", 10)
    monkeypatch.setattr(endpoints, "OF_SLOW", 5)
    released = asyncio.Event()
    worker, dead = world.worker(), [f"https://dead-{number}.example/" for number in range(12)]

    class Silent:
        async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
            if url in dead:
                await released.wait()
                raise CallFailed("no answer")
            return await world.client.post(url, headers, body)

    worker = world.worker(Silent())
    for url in dead:
        worker._endpoints.note(url[:-1], Outcome(None, 0, error="no answer"), world.now)
        for number in range(2):
            await world.begin_hooked(f"{url[8:15]}-{number}", hook(url, "started"))
    await world.begin_hooked("live", hook("https://a.example/", "started"))
    await world.follow()
    await worker._dispatcher.step()
    async with asyncio.timeout(30):
        while not world.client.sent:
            await worker.begin()
            await asyncio.sleep(0)
    released.set()
    await worker.settle()
    assert world.client.received() == [(3, "started")]
