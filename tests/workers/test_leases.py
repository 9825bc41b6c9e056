"""Expired leases are released and silent executions are marked, and never too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from domain.execution.commands import (
    CancelExecution,
    ClaimExecution,
    CompleteExecution,
    HeartbeatExecution,
    PauseExecution,
    ResumeExecution,
    UpdateExecution,
    UpdateProgress,
)
from domain.execution.events.creation import ExecutionCreated
from domain.execution.state import Execution
from domain.model import Command, Recorded
from domain.supervisor import cancel
from domain.writer.message import Message
from projections.claims.projection import Claims
from projections.claims.silent import SilentExecution, silent_of
from projections.claims.totals import claim_totals
from tests.support.followed_log import FollowedLog
from workers import leases, ownership
from workers.leases import LeaseWorker

pytestmark = pytest.mark.anyio
SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND


class World(FollowedLog):
    """With the read model of claims; the monotonic clock and the time of day advance together."""

    passed = 0.0

    async def queue(self, id_: str, **fields: Any) -> None:
        created = ExecutionCreated(order="o", service="s", customer="c", provider="p", **fields)
        async with self.store.transaction() as transaction:
            place = transaction.position + 1
            recorded = Recorded(f"execution/{id_}", 1, place, self.now, created, "tester")
            row = self.store.codec.encode(
                recorded, self.store.keyring.get_or_create(recorded.stream)
            )
            await transaction.append([row], [], self.now)

    async def claim(self, id_: str, worker: str = "w-1") -> None:
        await self.command(id_, ClaimExecution(worker=worker, lease=LEASE))

    async def command(self, id_: str, command: Command[Execution]) -> None:
        await self.bus.send(Message(f"execution/{id_}", command, "tester"))

    def worker(self) -> LeaseWorker:
        made = LeaseWorker(
            self.guarded_writer,
            self.store,
            "",
            clock=lambda: self.now,
            steady=lambda: self.passed,
        )
        made.take_over()
        return made

    async def look(self, worker: LeaseWorker, after: timedelta = timedelta()) -> None:
        """Let time pass, and handle what has expired then."""
        self.now += after
        self.passed += after.total_seconds()
        await self.follow()
        await worker.send_due(self.connection)
        await self.follow()

    async def types(self, id_: str) -> list[str]:
        rows = await self.store.history(f"execution/{id_}")
        return [row.type.removeprefix("execution.") for row in rows]


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Claims()) as opened:
        yield opened


async def test_expired_lease_is_released_once_and_in_time(world: World) -> None:
    worker = world.worker()
    await world.queue("e")
    await world.claim("e")
    await world.look(worker, LEASE - SECOND)
    assert (await world.types("e"))[-1] == "started"
    await world.look(worker, SECOND)
    await world.look(worker, 10 * LEASE)
    assert (await world.types("e"))[1:] == ["claimed", "starting", "started", "released"]
    last = (await world.store.history("execution/e"))[-1]
    assert '{"by":"system","correlation":"lease"' in last.meta


async def test_lease_that_expired_before_the_read_model_had_it_is_released_in_time(
    world: World,
) -> None:
    worker = world.worker()
    await world.queue("e")
    await world.claim("e")
    late = LEASE + 5 * SECOND
    world.now, world.passed = world.now + late, late.total_seconds()
    await worker.send_due(world.connection)
    assert await worker.next_due_at(world.connection) is None
    await world.look(worker, 3 * SECOND)
    assert (await world.types("e"))[-1] == "started"
    at = await worker.next_due_at(world.connection)
    assert at is not None
    await world.look(worker, at - world.now)
    assert (await world.types("e"))[-1] == "released"


@pytest.mark.parametrize("sign", [HeartbeatExecution(), UpdateProgress(progress=5)])
async def test_sign_of_life_extends_the_lease(world: World, sign: Command[Execution]) -> None:
    worker = world.worker()
    await world.queue("e")
    await world.claim("e")
    await world.look(worker, 20 * SECOND)
    await world.command("e", sign)
    await world.look(worker, LEASE - SECOND)
    assert "released" not in await world.types("e")
    await world.look(worker, SECOND)
    assert (await world.types("e"))[-1] == "released"


async def test_paused_and_ended_executions_lose_no_lease(world: World) -> None:
    worker = world.worker()
    for id_, command in (
        ("paused", PauseExecution()),
        ("ended", CompleteExecution(success=True, output=None, summary="")),
        ("cancelled", CancelExecution()),
    ):
        await world.queue(id_)
        await world.claim(id_)
        await world.command(id_, command)
    await world.look(worker, 10 * LEASE)
    for id_ in ("paused", "ended", "cancelled"):
        assert "released" not in await world.types(id_)
    await world.command("paused", ResumeExecution())
    await world.look(worker, LEASE - SECOND)
    assert (await world.types("paused"))[-1] == "resumed"
    await world.look(worker, SECOND)
    assert (await world.types("paused"))[-1] == "released"


async def test_silence_counts_from_when_the_worker_started(world: World) -> None:
    await world.queue("e")
    await world.claim("e")
    world.now += 10 * LEASE  # no heartbeat could be received
    worker = world.worker()
    await world.look(worker)
    await world.look(worker, LEASE - SECOND)
    assert (await world.types("e"))[-1] == "started"
    await world.look(worker, SECOND)
    assert (await world.types("e"))[-1] == "released"


async def test_leap_of_the_clock_releases_and_stalls_nothing_early(world: World) -> None:
    worker = world.worker()
    await world.queue("e", heartbeat_timeout=10 * SECOND)
    await world.claim("e")
    await world.look(worker, SECOND)
    world.now += timedelta(minutes=50)  # none of which has passed
    await world.look(worker)
    await world.look(worker, 9 * SECOND)
    assert (await world.types("e"))[-1] == "started"
    await world.look(worker, SECOND)
    assert (await world.types("e"))[-1] == "stalled"
    await world.look(worker, 20 * SECOND)
    assert (await world.types("e"))[-1] == "released"


async def test_lease_is_released_when_it_expires_without_waiting_for_the_next_check(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "POLL_INTERVAL", 600)
    monkeypatch.setattr(leases, "PAUSE", 0.05)
    worker = world.worker()
    running = asyncio.create_task(worker.run(world.connection))
    await asyncio.sleep(0.2)  # it has checked, and found nothing
    await world.queue("e")
    await world.claim("e")
    await world.follow()
    worker.wake.set()  # as the notification of the view does
    await asyncio.sleep(0.2)
    world.now += LEASE
    world.passed += LEASE.total_seconds()
    async with asyncio.timeout(60):
        while (await world.types("e"))[-1] != "released":
            assert not running.done(), running
            await asyncio.sleep(0.05)
    await cancel(running)


async def test_silence_is_marked_again_after_each_recovery(world: World) -> None:
    worker = world.worker()
    await world.begin("e", heartbeat_timeout=10 * SECOND)
    for _ in range(2):
        await world.look(worker, 10 * SECOND)
        await world.look(worker, 10 * SECOND)
        assert (await world.types("e"))[-1] == "stalled"
        await world.command("e", HeartbeatExecution())
        assert (await world.types("e"))[-1] == "recovered"
    assert (await world.types("e")).count("stalled") == 2


async def test_execution_that_loses_every_worker_fails(world: World) -> None:
    worker = LeaseWorker(
        world.guarded_writer,
        world.store,
        "",
        clock=lambda: world.now,
        most_lost=2,
        steady=lambda: world.passed,
    )
    await world.queue("e")
    for number in range(2):
        await world.claim("e", f"w-{number}")
        await world.look(worker, LEASE)
    types = await world.types("e")
    assert (types.count("released"), types[-1]) == (1, "failed")
    assert (await claim_totals(world.connection)).lost == 2


async def test_two_workers_release_an_execution_once(world: World) -> None:
    one, other = world.worker(), world.worker()
    await world.queue("e")
    await world.claim("e")
    world.now += LEASE
    world.passed += LEASE.total_seconds()
    await world.follow()
    await one.send_due(world.connection)
    await other.send_due(world.connection)  # the read model has not seen it yet
    assert (await world.types("e")).count("released") == 1


async def test_more_leases_than_a_check_handles_are_released_at_the_same_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "AT_ONCE", 2)
    worker = world.worker()
    for number in range(5):
        await world.queue(f"e{number}")
        await world.claim(f"e{number}")
    await world.look(worker, LEASE)
    while await worker.send_due(world.connection):
        pass
    await world.follow()
    for number in range(5):
        assert (await world.types(f"e{number}"))[-1] == "released"


@pytest.mark.parametrize("sign", [HeartbeatExecution(), UpdateProgress(progress=5)])
async def test_execution_is_not_checked_before_its_next_silence_may_end(
    world: World, monkeypatch: pytest.MonkeyPatch, sign: Command[Execution]
) -> None:
    looked_at: list[str] = []

    async def note_call(connection: Any, executions: Any, now: Any) -> list[SilentExecution]:
        looked_at.extend(executions)
        return await silent_of(connection, executions, now)

    monkeypatch.setattr(leases, "silent_of", note_call)
    worker = world.worker()
    await world.queue("e")
    await world.claim("e")
    await world.look(worker, LEASE - SECOND)
    await world.command("e", sign)
    for _ in range(int(LEASE / SECOND) - 1):
        await world.look(worker, SECOND)
    assert looked_at == []
    await world.look(worker, SECOND)
    assert looked_at == ["e"]
    assert (await world.types("e"))[-1] == "released"


async def test_silence_watched_from_now_on_is_found_within_seconds(world: World) -> None:
    worker = world.worker()
    await world.begin("e")
    await world.look(worker, 60 * SECOND)
    await world.command("e", UpdateExecution(heartbeat_timeout=5 * SECOND))
    await world.look(worker, leases.ALL_EVERY)
    assert (await world.types("e"))[-1] == "stalled"


async def test_silence_watched_from_now_on_is_found_beside_a_long_lease(world: World) -> None:
    worker, hour = world.worker(), 3_600 * SECOND
    await world.queue("e")
    await world.command("e", ClaimExecution(worker="w-1", lease=hour))
    await world.look(worker, hour - SECOND)
    await world.command("e", HeartbeatExecution())
    await world.look(worker, SECOND)  # it is checked again in an hour
    await world.command("e", UpdateExecution(heartbeat_timeout=5 * SECOND))
    await world.look(worker, leases.ALL_EVERY)
    assert (await world.types("e"))[-1] == "stalled"


async def test_heartbeats_of_ended_executions_are_forgotten(world: World) -> None:
    worker = world.worker()
    for id_ in ("ended", "running"):
        await world.begin(id_)
        await world.command(id_, HeartbeatExecution())
    await world.command("ended", CancelExecution())
    await world.look(worker, timedelta(days=2))
    rows = await (await world.connection.execute("SELECT execution FROM heartbeats")).fetchall()
    assert rows == [("running",)]
