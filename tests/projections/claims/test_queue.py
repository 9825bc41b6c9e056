"""The claim queue of a process equals that of the log, however far the read model lags."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from domain.execution.commands import (
    CancelExecution,
    ClaimExecution,
    StartExecution,
    UpdateExecution,
)
from domain.execution.events.creation import ExecutionCreated
from domain.execution.types import Status
from domain.model import Recorded
from domain.types import Assignee, Priority
from domain.writer.message import Message
from projections.claims.projection import Claims
from projections.claims.queue import ClaimFilter, ClaimQueue, read_query
from projections.claims.row import RANKS
from projections.claims.totals import claim_totals
from tests.support.followed_log import FollowedLog

pytestmark = pytest.mark.anyio
ANY, OF_MAIL, OF_ANN = ClaimFilter(), ClaimFilter(service="mail"), ClaimFilter(assignee="ann")
ANN = Assignee(type="human", id="ann", name="Ann")


class World(FollowedLog):
    """With the read model of claims."""

    async def queue(self, id_: str, **fields: Any) -> None:
        given: dict[str, Any] = {
            "order": "o",
            "service": "s",
            "customer": "c",
            "provider": "p",
            **fields,
        }
        async with self.store.transaction() as transaction:
            place = transaction.position + 1
            recorded = Recorded(
                f"execution/{id_}", 1, place, self.now, ExecutionCreated(**given), "tester"
            )
            key = self.store.keyring.get_or_create(recorded.stream)
            await transaction.append([self.store.codec.encode(recorded, key)], [], self.now)

    async def first(
        self, queue: ClaimQueue, wanted: ClaimFilter = ANY, number: int = 100
    ) -> list[str]:
        await queue.catch_up(self.connection)
        return (await queue.first(self.connection, {wanted: number}, {}))[wanted]


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Claims()) as opened:
        yield opened


@pytest.mark.parametrize("followed", [True, False])
async def test_queue_is_ordered_and_filtered_by_the_request(world: World, followed: bool) -> None:
    queue = ClaimQueue()
    await world.queue("a", priority=Priority.LOW)
    await world.queue("b", service="mail")
    await world.queue("c", assignee=ANN)
    await world.queue("d", priority=Priority.URGENT, service="mail")
    if followed:
        await world.follow()
    assert await world.first(queue) == ["d", "b", "c", "a"]
    assert await world.first(queue, number=2) == ["d", "b"]
    assert await world.first(queue, OF_MAIL) == ["d", "b"]
    assert await world.first(queue, OF_ANN) == ["c"]


@pytest.mark.parametrize("followed", [True, False])
async def test_queue_has_the_executions_of_the_workers_owners(world: World, followed: bool) -> None:
    queue = ClaimQueue()
    await world.queue("a", provider="p-1")
    await world.queue("b", customer="c-1", service="mail")
    await world.queue("c", assignee=ANN)
    await world.queue("d", provider="p-1", customer="c-1", service="mail")
    if followed:
        await world.follow()
    provider, customer, ann = ("provider", "p-1"), ("customer", "c-1"), ("assignee", "ann")
    of_provider = ((provider,),)
    for owners, found in (
        (of_provider, ["a", "d"]),
        (((provider,), (customer,)), ["a", "b", "d"]),
        (((provider, customer),), ["d"]),
        (((ann,),), ["c"]),
        (((ann, provider),), []),
        (((ann, provider), (customer,)), ["b", "d"]),
        (((("provider", "p-2"),),), []),
        ((), []),
        (None, ["a", "b", "c", "d"]),
    ):
        assert await world.first(queue, ClaimFilter(owners=owners)) == found
    assert await world.first(queue, ClaimFilter(service="mail", owners=of_provider)) == ["d"]


async def test_queue_skips_executions_that_were_claimed(world: World) -> None:
    queue = ClaimQueue()
    for id_ in ("a", "b", "c"):
        await world.queue(id_)
    await queue.catch_up(world.connection)
    passed = {"a": 1, "c": 2}
    assert await queue.first(world.connection, {ANY: 5}, passed) == {ANY: ["b"]}


async def test_queue_is_unsettled_while_the_read_model_lags_behind_a_change(world: World) -> None:
    queue = ClaimQueue()
    await world.queue("a")
    await world.queue("b")
    await world.follow()
    assert (await world.first(queue), queue.settled) == (["a", "b"], True)
    urgent = UpdateExecution(priority=Priority.URGENT)
    await world.bus.send(Message("execution/b", urgent, "tester"))
    await queue.catch_up(world.connection)
    assert not queue.settled
    await world.follow()
    assert (await world.first(queue), queue.settled) == (["b", "a"], True)


async def test_filter_is_read_from_the_read_model_although_a_new_event_matches(
    world: World,
) -> None:
    queue = ClaimQueue()
    await world.queue("old", service="mail")
    await world.follow()
    assert await world.first(queue, OF_ANN) == []
    await world.queue("new", service="mail")
    assert await world.first(queue, OF_MAIL, number=1) == ["old"]


async def test_queue_is_not_read_again_while_read_executions_remain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    read_again = ClaimQueue._read_again

    async def count_call(self: ClaimQueue, *given: Any) -> None:
        read.append(1)
        await read_again(self, *given)

    monkeypatch.setattr(ClaimQueue, "_read_again", count_call)
    monkeypatch.setattr("projections.claims.queue.AGAIN", 600)
    queue, ids = ClaimQueue(), [f"e-{number}" for number in range(6)]
    for id_ in ids:
        await world.queue(id_)
    await world.follow()
    for number in range(4):
        assert await world.first(queue, number=2) == ids[number : number + 2]
        await world.bus.send(Message(f"execution/{ids[number]}", StartExecution(), "tester"))
        await world.follow()
    assert await world.first(queue) == ids[4:]  # these are all: no reason to read again
    assert len(read) == 1


async def test_queue_is_read_again_after_a_gap_in_the_seen_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.claims.queue.AGAIN", 600)
    monkeypatch.setattr("projections.claims.queue.OFTEN", -1)  # as if long without a request
    queue = ClaimQueue()
    for id_ in ("a", "b"):
        await world.queue(id_)
    await world.follow()
    assert await world.first(queue) == ["a", "b"]
    await world.bus.send(Message("execution/a", StartExecution(), "tester"))
    await world.follow()
    assert await world.first(queue) == ["b"]


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("wanted", [ANY, OF_MAIL])
async def test_read_of_a_long_queue_sorts_nothing(
    world: World, wanted: ClaimFilter, analyzed: bool
) -> None:
    run = world.connection.execute
    await run("ALTER TABLE claims SET (autovacuum_enabled = off)")
    await run(
        """INSERT INTO claims SELECT 'e-' || n, 'queued', n % 4, n, 'mail', 'c', 'p', NULL, now()
        FROM generate_series(1, 20000) AS n"""
    )
    if analyzed:
        await run("ANALYZE claims")
    query, values = read_query({wanted: 1_400})
    cursor = await run(f"EXPLAIN {query}".encode(), values, prepare=False)
    plan = "\n".join(row[0] for row in await cursor.fetchall())
    assert " using claims_" in plan
    assert "Bitmap" not in plan
    assert "Seq Scan on claims" not in plan


async def test_queue_equals_that_of_the_states_on_random_logs(world: World) -> None:
    random, queue = Random(3), ClaimQueue()
    ids: list[str] = []
    for _ in range(80):
        if not ids or random.random() < 0.5:
            ids.append(f"e-{len(ids):03}")
            await world.queue(ids[-1], priority=random.choice(list(Priority)))
        else:
            command = random.choice([StartExecution(), CancelExecution()])
            message = Message(f"execution/{random.choice(ids)}", command, "tester")
            outcome = world.bus.submit(message)
            await asyncio.gather(outcome, return_exceptions=True)
        if random.random() < 0.3:
            await world.follow()
        assert await world.first(queue) == await queue_of_states(world, ids)
    await world.follow()
    assert await world.first(queue) == await queue_of_states(world, ids)


async def queue_of_states(world: World, ids: list[str]) -> list[str]:
    states = await world.store.load_all(f"execution/{id_}" for id_ in ids)
    queued = [
        (-RANKS[versioned.state.priority], id_)
        for id_ in ids
        if (versioned := states[f"execution/{id_}"]).state.status is Status.QUEUED
    ]
    return [id_ for _, id_ in sorted(queued)]


async def test_totals_count_claims_and_show_the_time_of_the_oldest_in_the_queue(
    world: World,
) -> None:
    await world.queue("a", priority=Priority.URGENT)
    began = world.now
    await world.queue("b")
    world.now += timedelta(minutes=1)
    await world.bus.send(Message("execution/a", ClaimExecution(worker="w-1"), "tester"))
    await world.queue("c", priority=Priority.URGENT)
    await world.follow()
    assert await claim_totals(world.connection) == (1, 0, began)
