"""Races: two requests with one idempotency key, and readers beside writers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, cast

import pytest
from psycopg import AsyncConnection

from domain.errors import IdempotencyKeyReused
from domain.eventlog import queries
from domain.eventlog.idempotency import REPLY_RETENTION, IdempotencyKey, claim
from domain.eventlog.store import Store
from tests.support.sample_aggregate import NOON, Begin, Note, Raise, message, running_bus, store

NewStore = Callable[[], Store]

pytestmark = pytest.mark.anyio


async def test_same_key_in_two_processes_has_one_effect_and_one_replay(new_store: NewStore) -> None:
    async with running_bus(new_store()) as left, running_bus(new_store()) as right:
        await left.send(message("a", Begin()))
        for count in range(1, 51):
            once = {"idempotency": IdempotencyKey(f"caller:{count}", "body")}
            answers = await asyncio.gather(
                *(bus.send(message("a", Raise(), **once)) for bus in (left, right))
            )
            assert sorted(answer.replayed for answer in answers) == [False, True]
            assert [answer.versioned.state.total for answer in answers] == [count, count]


async def test_same_key_with_two_bodies_in_two_processes_refuses_one(new_store: NewStore) -> None:
    async with running_bus(new_store()) as left, running_bus(new_store()) as right:
        await left.send(message("a", Begin()))
        for count in range(20):
            sent = [
                bus.send(message("a", Raise(), idempotency=IdempotencyKey(f"k{count}", body)))
                for bus, body in ((left, "one"), (right, "other"))
            ]
            answers = await asyncio.gather(*sent, return_exceptions=True)
            assert sum(isinstance(answer, IdempotencyKeyReused) for answer in answers) == 1
        assert (await left.send(message("a", Raise()))).versioned.state.total == 21


async def test_key_taken_by_log_lines_meanwhile_is_refused_for_a_command(database: str) -> None:
    log = store(database)
    async with running_bus(log, clock=lambda: NOON) as bus:
        await bus.send(message("a", Begin()))
        async with log.reader() as connection, connection.transaction():
            assert await claim(connection, IdempotencyKey("k", "lines"), {}, NOON) is None
            sent = bus.submit(message("a", Raise(), idempotency=IdempotencyKey("k", "command")))
            done, _ = await asyncio.wait([sent], timeout=0.3)
            assert not done
        with pytest.raises(IdempotencyKeyReused):
            await sent
        async with log.reader() as connection:
            reply = await claim(connection, IdempotencyKey("k", "lines"), {}, NOON)
        assert reply is not None
        assert reply.fingerprint == "lines"
        assert (await bus.send(message("a", Raise()))).versioned.state.total == 1


async def test_expired_key_of_log_lines_is_free_for_a_command(database: str) -> None:
    log = store(database)
    async with running_bus(log, clock=lambda: NOON) as bus:
        await bus.send(message("a", Begin()))
        async with log.reader() as connection, connection.transaction(force_rollback=True):
            await claim(connection, IdempotencyKey("k", "lines"), {}, NOON)
            sent = bus.submit(message("a", Raise(), idempotency=IdempotencyKey("k", "command")))
            await asyncio.wait([sent], timeout=0.3)
        assert (await sent).versioned.state.total == 1


async def test_cleanup_keeps_a_reply_that_is_renewed_meanwhile(database: str) -> None:
    log = store(database)
    async with running_bus(log), log.reader() as connection:
        await claim(connection, IdempotencyKey("k", "old"), {}, NOON)
        later = NOON + REPLY_RETENTION
        async with connection.transaction():
            await claim(connection, IdempotencyKey("k", "new"), {}, later)
            cleaning = asyncio.create_task(log.forget_replies(NOON))
            await asyncio.wait([cleaning], timeout=0.3)
        await cleaning
        reply = await claim(connection, IdempotencyKey("k", "other"), {}, later)
    assert reply is not None
    assert reply.fingerprint == "new"


class Interrupted:
    """A connection that runs something else after one of its statements."""

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

    def pipeline(self) -> AbstractAsyncContextManager[None]:
        """None, so that the statements run one after the other."""
        return nullcontext()


async def test_reader_never_sees_an_event_without_its_data_key(
    database: str,
) -> None:
    reading = store(database)
    async with running_bus(store(database)) as bus, running_bus(reading):
        await bus.send(message("a", Begin()))
        async with reading.reader() as connection:
            interrupted = Interrupted(
                connection,
                queries.LOAD,
                lambda: bus.send(message("a", Note(note="secret"))),
            )
            loaded = await reading.states.load(
                cast(AsyncConnection, interrupted), {"tally/a": None}
            )
        assert loaded["tally/a"].state.note == (
            None if loaded["tally/a"].version == 1 else "secret"
        )


async def test_reader_has_the_keys_it_looked_up_although_the_writer_evicts_them(
    database: str,
) -> None:
    async with running_bus(store(database)) as bus:
        for name in "ab":
            await bus.send(message(name, Begin()))
            await bus.send(message(name, Note(note=f"secret of {name}")))
    log = store(database)
    async with running_bus(log) as bus:  # the first command of this bus evicts what is cached
        await log.load("tally/a")
        async with log.reader() as connection:
            interrupted = Interrupted(
                connection, queries.LOAD, lambda: bus.send(message("c", Begin()))
            )
            loaded = await log.states.load(
                cast(AsyncConnection, interrupted),
                dict.fromkeys(["tally/a", "tally/b"]),
            )
    assert {stream: versioned.state.note for stream, versioned in loaded.items()} == {
        "tally/a": "secret of a",
        "tally/b": "secret of b",
    }


async def test_snapshot_has_no_plaintext_of_sealed_content(database: str) -> None:
    log = store(database)
    async with running_bus(log) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("a", Note(note="secret")))
        await asyncio.gather(*(bus.submit(message("a", Raise())) for _ in range(1_200)))
        kept: dict[int, bytes] = {}
        async with log.reader() as connection, asyncio.timeout(30):
            while len(kept) < 2:  # they are stored after the commits
                cursor = await connection.execute("SELECT originator_version, state FROM snapshots")
                kept = dict(await cursor.fetchall())
    assert [version // 500 for version in sorted(kept)] == [1, 2]
    assert not any(b"secret" in state for state in kept.values())
