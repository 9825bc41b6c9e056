"""Webhooks are called at least once and in order, whatever receivers, clocks and owners do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from standardwebhooks import Webhook as Verifier

from domain.catalog.webhook_commands import RotateSecret
from domain.execution.commands import CompleteExecution, UpdateExecution, UpdateProgress
from domain.writer.message import Message
from projections.deliveries.health import health_of
from projections.deliveries.projection import Deliveries
from projections.deliveries.queue import DeliveryQueue, Lane, Settled, Standing
from projections.deliveries.requests import rewind
from projections.deliveries.secrets import format_secret, signing_secret
from tests.support.followed_log import NOON
from tests.support.hooked_log import OK, World, hook
from workers.webhooks import deliveries
from workers.webhooks.http_client import CallFailed
from workers.webhooks.http_connection import Response

pytestmark = pytest.mark.anyio
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
BROKEN, GONE = Response(500, b"br\0ken", None), Response(410, b"", None)
DONE = CompleteExecution(success=True, output={"private": "word"}, summary="done")


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Deliveries()) as opened:
        yield opened


async def test_webhook_gets_its_events_in_order_and_once(world: World) -> None:
    worker = world.worker()
    await world.begin_hooked("e", hook("https://a.example/", "started", "completed"))
    await world.send("e", UpdateProgress(progress=5))
    await world.send("e", DONE)
    await world.call(worker)
    await world.call(worker, MINUTE)
    assert world.client.received() == [(3, "started"), (5, "completed")]
    assert (await world.health()).state == "delivered"


async def test_body_is_the_envelope_signed_by_the_secret_of_the_webhook(world: World) -> None:
    world.now = datetime.now(UTC)
    await world.begin_hooked(
        "e", hook("https://a.example/", "completed", headers={"X-Key": "k", "Host": "x"})
    )
    await world.send("e", DONE)
    await world.call(world.worker())
    [(_, headers, body)] = world.client.sent
    key = (await world.store.keys(["execution/e"]))["execution/e"]
    assert key is not None
    envelope = Verifier(format_secret(signing_secret(key, "wh-1"))).verify(body, dict(headers))
    assert envelope["data"]["result"]["output"] == {"private": "word"}
    assert envelope["timestamp"] == envelope["time"]
    assert headers["webhook-id"] == f"msg_{envelope['position']}_wh-1"
    assert headers["X-Key"] == "k"
    assert "Host" not in headers


async def test_headers_of_a_webhook_are_masked_in_the_body(world: World) -> None:
    await world.begin_hooked("e", hook(headers={"X-Key": "s3cret"}))
    await world.call(world.worker())
    assert world.client.sent[0][1]["X-Key"] == "s3cret"
    assert all(b"s3cret" not in body for _, _, body in world.client.sent)


async def test_slack_gets_one_line_of_text_without_content(world: World) -> None:
    await world.begin_hooked("e", hook("https://a.example/", "completed", format="slack"))
    await world.send("e", DONE)
    await world.call(world.worker())
    [(_, _, body)] = world.client.sent
    assert orjson.loads(body) == {
        "text": "Execution e of s: completed, now completed after 0 s, cost 0 USD"
    }


async def test_event_that_is_not_accepted_is_retried_and_delays_those_after_it(
    world: World,
) -> None:
    worker = world.worker()
    world.client.answer = lambda _: BROKEN
    await world.begin_hooked("e", hook())
    await world.call(worker)
    health = await world.health()
    assert (health.state, health.waiting, health.status) == ("failing", 3, 500)
    assert (health.answer, health.error) == ("brken", "answered 500")
    assert (health.next_at, health.failing_since) == (NOON + MINUTE, NOON)
    await world.call(worker, 59 * SECOND)
    assert len(world.client.sent) == 1
    await world.call(worker, SECOND)
    world.client.answer = lambda _: OK
    await world.call(worker, 5 * MINUTE)
    assert [version for version, _ in world.client.received()] == [1, 1, 1, 2, 3]
    assert len({headers["webhook-id"] for _, headers, _ in world.client.sent}) == 3
    health = await world.health()
    assert (health.state, health.waiting, health.failing_since) == ("delivered", 0, None)


async def test_event_is_given_up_after_six_calls_and_the_next_one_follows(world: World) -> None:
    worker = world.worker()
    world.client.answer = lambda _: BROKEN
    await world.begin_hooked("e", hook("https://a.example/", "starting", "started"))
    for minutes in (0, 1, 5, 30, 120, 720):
        await world.call(worker, minutes * MINUTE)
    assert [version for version, _ in world.client.received()] == [2] * 6 + [3]
    health = await world.health()
    assert (health.given_up, health.waiting, health.state) == (1, 1, "failing")


async def test_retry_after_of_a_receiver_is_respected(world: World) -> None:
    worker = world.worker()
    world.client.answer = lambda _: Response(503, b"", "600")
    await world.begin_hooked("e", hook("https://a.example/", "started"))
    await world.call(worker)
    assert (await world.health()).next_at == NOON + 10 * MINUTE


async def test_call_without_an_answer_is_stored_with_its_reason(world: World) -> None:
    def fail(_: str) -> Response:
        raise CallFailed("127.0.0.1 is refused (loopback)")

    world.client.answer = fail
    await world.begin_hooked("e", hook())
    await world.call(world.worker())
    health = await world.health()
    assert (health.status, health.error) == (None, "127.0.0.1 is refused (loopback)")


async def test_reason_that_postgres_cannot_store_delays_no_other_webhook(
    world: World,
) -> None:
    def fail(url: str) -> Response:
        if url == "https://a.example/":
            raise CallFailed("no\0 \udcff")
        return OK

    world.client.answer = fail
    await world.begin_hooked("e", hook("https://a.example/", "started"))
    await world.begin_hooked("f", hook("https://b.example/", "started"))
    await world.call(world.worker())
    assert (await world.health()).error == "no ?"
    assert (await world.health("f")).state == "delivered"


async def test_imported_events_are_not_sent(world: World) -> None:
    await world.begin_hooked("e", hook(), occurred_at=NOON - timedelta(days=2))
    await world.begin_hooked("f", hook(), occurred_at=NOON - timedelta(hours=2))
    await world.call(world.worker())
    assert {orjson.loads(body)["subject"] for _, _, body in world.client.sent} == {"f"}


async def test_execution_with_a_destroyed_key_is_not_sent(world: World) -> None:
    await world.begin_hooked("e", hook())
    await world.connection.execute("DELETE FROM data_keys")
    world.store.keyring.forget()
    await world.call(world.worker())
    assert world.client.sent == []
    assert "cannot be read" in str((await world.health()).error)


async def test_receiver_that_is_gone_is_not_called_until_its_webhook_is_changed(
    world: World,
) -> None:
    worker = world.worker()
    world.client.answer = lambda _: GONE
    await world.begin_hooked("e", hook())
    await world.send("e", UpdateProgress(progress=5))
    await world.call(worker)
    assert len(world.client.sent) == 1
    assert (await world.health()).state == "disabled"
    await world.call(worker, MINUTE)
    assert len(world.client.sent) == 1
    health = await world.health()
    assert (health.state, health.waiting, health.given_up) == ("disabled", 0, 4)
    world.client.answer = lambda _: OK
    plan = {"id": "wh-1", "url": "https://a.example/new", "events": ("*",)}
    await world.send("e", UpdateExecution.model_validate({"webhooks": (plan,)}))
    await world.call(worker, MINUTE)
    assert world.client.received("https://a.example/new") == [(5, "updated")]
    assert (await world.health()).state == "delivered"


async def test_changed_webhook_is_disabled_again_when_its_receiver_is_gone_again(
    world: World,
) -> None:
    worker = world.worker()
    world.client.answer = lambda _: GONE
    await world.begin_hooked("e", hook())
    await world.call(worker)
    for path in ("b", "c"):
        plan = {"id": "wh-1", "url": f"https://a.example/{path}", "events": ("*",)}
        await world.send("e", UpdateExecution.model_validate({"webhooks": (plan,)}))
        await world.call(worker, MINUTE)
        await world.call(worker, MINUTE)
        assert (await world.health()).state == "disabled"
    rows = await world.connection.execute("SELECT DISTINCT error FROM webhook_deliveries")
    errors = {row[0] for row in await rows.fetchall()}
    assert errors == {"answered 410", "not called: the webhook was disabled or removed"}


async def test_removed_webhook_gets_no_more_events(world: World) -> None:
    worker = world.worker()
    world.client.answer = lambda _: BROKEN
    await world.begin_hooked("e", hook())
    await world.call(worker)
    await world.send("e", UpdateExecution(webhooks=()))
    await world.call(worker, MINUTE)
    assert len(world.client.sent) == 1
    assert await health_of(world.connection, ["e/wh-1"]) == {}
    assert await world.count("webhook_lanes") == 0


async def test_events_older_than_the_first_start_are_not_sent(world: World) -> None:
    await world.begin_hooked("e", hook())
    await world.connection.execute("UPDATE webhook_head SET position = (SELECT position FROM head)")
    await world.send("e", UpdateProgress(progress=5))
    await world.call(world.worker())
    assert world.client.received() == [(4, "progress")]


async def test_rebuilt_read_model_sends_nothing_twice_and_loses_nothing(
    world: World,
) -> None:
    worker = world.worker()
    await world.begin_hooked("e", hook("https://a.example/"), hook("https://b.example/", id="wh-2"))
    world.client.answer = lambda url: BROKEN if "b." in url else OK
    await world.call(worker)
    await world.connection.execute("UPDATE bookmarks SET position = 0 WHERE view = 'deliveries'")
    await world.connection.execute("TRUNCATE webhooks, webhook_states")
    world.now += MINUTE
    assert not await worker._dispatcher.step()
    assert await worker.begin() == 1
    assert await world.count("webhook_lanes") == 1
    world.client.answer = lambda _: OK
    await world.call(worker, MINUTE)
    assert [version for version, _ in world.client.received()] == [1, 2, 3]
    assert [version for version, _ in world.client.received("https://b.example/")] == [1, 1, 2, 3]


async def test_event_queued_between_the_last_check_and_the_wait_is_sent(world: World) -> None:
    worker, lane = world.worker(), Lane("e/wh-1", "execution/e")
    await world.begin_hooked("e", hook())
    await world.call(worker)
    await world.send("e", UpdateProgress(progress=5))
    await world.follow()
    await worker._dispatcher.step()
    await DeliveryQueue(world.connection).remove_empty([lane], world.now + MINUTE)
    await world.call(worker)
    assert [version for version, _ in world.client.received()] == [1, 2, 3, 4]
    assert await world.count("webhook_lanes") == 0


async def test_old_delivery_is_deleted(world: World) -> None:
    worker = world.worker()
    await world.begin_hooked("e", hook())
    await world.call(worker)
    world.now += deliveries.RETENTION
    await worker._forget()
    assert await world.count("webhook_deliveries") == 3
    world.now += timedelta(minutes=1, seconds=1)
    assert (await world.health()).answer == "ok"
    await worker._forget()
    assert await world.count("webhook_deliveries") == 0
    # An answer may quote content, which an erasure finds by the delivery: both are deleted.
    assert (await world.health()).answer is None


async def test_last_answer_of_a_delivery_dropped_by_a_rewind_is_deleted(world: World) -> None:
    world.client.answer = lambda _: BROKEN
    await world.begin_hooked("e", hook())
    await world.call(world.worker())
    assert (await world.health()).answer == "brken"
    await rewind(world.connection, "e/wh-1", 0, world.now)
    assert (await world.health()).answer is None


async def test_call_that_fails_with_a_secret_rotated_meanwhile_is_repeated_at_once(
    world: World,
) -> None:
    await world.begin_hooked("e", hook("https://a.example/", "started", id="wh_1"))
    signed: list[str] = []

    class Rotating:
        async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
            signed.append(headers["webhook-signature"])
            if len(signed) > 1:
                return OK
            command = RotateSecret(overlap=timedelta()).of("e")
            await world.bus.send(Message("webhook/wh_1", command, "tester"))
            await world.follow()
            return Response(401, b"", None)

    worker = world.worker(Rotating())
    await world.call(worker)
    assert len(set(signed)) == 2
    assert (await world.health(webhook="wh_1")).state == "delivered"


async def test_settings_changed_before_a_failure_is_kept_are_used_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = "https://a.example/new"
    world.client.answer = lambda url: OK if url == new else BROKEN
    await world.begin_hooked("e", hook("https://a.example/", "started"))
    worker = world.worker()
    write, outcomes = worker._outcome_writer.write, []

    async def change_first(settled: Settled) -> Standing | None:
        outcomes.append(settled.status)
        if len(outcomes) == 1:
            plan = {"id": "wh-1", "url": new, "events": ("started",)}
            await world.send("e", UpdateExecution.model_validate({"webhooks": (plan,)}))
            await world.enter(worker)
        return await write(settled)

    monkeypatch.setattr(worker._outcome_writer, "write", change_first)
    await world.call(worker)
    assert outcomes == [500, 200]
    assert world.client.received(new) == [(3, "started")]
