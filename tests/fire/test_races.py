"""Two at the same moment: with one idempotency key, or one reading what the other writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from psycopg import AsyncConnection

from domain import store as store_module
from domain.batch import IdempotencyKey
from domain.errors import IdempotencyKeyReused
from domain.store import Store
from tests.tally import Begin, Note, Raise, message, running_bus, store

NewStore = Callable[[], Store]

pytestmark = pytest.mark.anyio


async def test_one_key_in_two_processes_has_one_effect_and_one_replay(new_store: NewStore) -> None:
    async with running_bus(new_store()) as left, running_bus(new_store()) as right:
        await left.send(message("a", Begin()))
        for count in range(1, 51):
            once = {"idempotency": IdempotencyKey(f"caller:{count}", "body")}
            answers = await asyncio.gather(
                *(bus.send(message("a", Raise(), **once)) for bus in (left, right))
            )
            assert sorted(answer.replayed for answer in answers) == [False, True]
            assert [answer.held.state.total for answer in answers] == [count, count]


async def test_one_key_with_two_bodies_in_two_processes_refuses_one(new_store: NewStore) -> None:
    async with running_bus(new_store()) as left, running_bus(new_store()) as right:
        await left.send(message("a", Begin()))
        for count in range(20):
            sent = [
                bus.send(message("a", Raise(), idempotency=IdempotencyKey(f"k{count}", body)))
                for bus, body in ((left, "one"), (right, "other"))
            ]
            answers = await asyncio.gather(*sent, return_exceptions=True)
            assert sum(isinstance(answer, IdempotencyKeyReused) for answer in answers) == 1
        assert (await left.send(message("a", Raise()))).held.state.total == 21


class Interrupted:
    """A connection that does something else after one of its statements."""

    def __init__(
        self, connection: AsyncConnection, statement: str, between: Callable[[], Awaitable[object]]
    ) -> None:
        self._connection = connection
        self._statement = statement
        self._between = between

    async def execute(self, query: Any, *values: Any, **how: Any) -> Any:
        cursor = await self._connection.execute(query, *values, **how)
        if query == self._statement:
            await self._between()
        return cursor


@pytest.mark.parametrize("statement", ["SNAPSHOTS", "FRESH", "KEYS"])
async def test_a_reader_never_sees_an_event_without_the_key_that_came_with_it(
    database: str, statement: str
) -> None:
    reading = store(database)
    async with running_bus(store(database)) as bus, running_bus(reading):
        await bus.send(message("a", Begin()))
        async with reading.reader() as connection:
            disturbed = Interrupted(
                connection,
                getattr(store_module, statement),
                lambda: bus.send(message("a", Note(note="secret"))),
            )
            loaded = await reading.load_on(cast(AsyncConnection, disturbed), {"tally/a": None})
        assert loaded["tally/a"].state.note == (
            None if loaded["tally/a"].version == 1 else "secret"
        )


async def test_no_snapshot_holds_what_is_sealed_in_the_open(database: str) -> None:
    log = store(database)
    async with running_bus(log) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("a", Note(note="secret")))
        await asyncio.gather(*(bus.submit(message("a", Raise())) for _ in range(1_200)))
        async with log.reader() as connection:
            cursor = await connection.execute("SELECT originator_version, state FROM snapshots")
            kept = dict(await cursor.fetchall())
    assert [version // 500 for version in sorted(kept)] == [1, 2]
    assert not any(b"secret" in state for state in kept.values())
