"""Each kind of work on a log has one owner; work without an owner is reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from math import inf
from typing import ClassVar
from unittest.mock import Mock

import psycopg
import pytest

from domain.eventlog.connection.notifications import Wake
from domain.eventlog.sessions import session_options
from domain.eventlog.setup.log_id import renew_log_id
from domain.supervisor import run_parts
from tests.support.followed_log import SCHEMA
from workers.connection_slots import ConnectionSlots
from workers.log_ownership import LogOwnership
from workers.ownership import WORK, OwnedWork, ownership, without_owner

pytestmark = pytest.mark.anyio


async def test_work_without_owner_is_named_until_a_process_owns_it(database: str) -> None:
    options = session_options(SCHEMA)
    async with await psycopg.AsyncConnection.connect(database, options=options) as connection:
        assert await without_owner(connection, SCHEMA) == list(WORK)
        async with ownership(database, SCHEMA, "timers"):
            missing = await without_owner(connection, SCHEMA)
            assert missing == [work for work in WORK if work != "timers"]
            assert await without_owner(connection, "another") == list(WORK)
        while await without_owner(connection, SCHEMA) != list(WORK):  # noqa: ASYNC110 - no signal
            await asyncio.sleep(0.01)


class Work(OwnedWork):
    """Does its work, and waits for more."""

    work: ClassVar[str] = "nothing"
    looks = 0

    async def run(self, connection: psycopg.AsyncConnection) -> None:
        while True:
            self.looks += 1
            await self.wait_for_work(connection)


@pytest.fixture
async def connection(database: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def work(database: str, monkeypatch: pytest.MonkeyPatch) -> Work:
    """It would wait for ten minutes."""
    monkeypatch.setattr("workers.ownership.POLL_INTERVAL", 600)
    monkeypatch.setattr("workers.ownership.CHECK_EVERY", 0.01)
    return Work(database, SCHEMA)


async def test_wait_ends_once_woken(work: Work, connection: psycopg.AsyncConnection) -> None:
    async with asyncio.timeout(60):
        work.wake.set()
        await work.wait_for_work(connection)


async def test_wait_ends_if_the_clock_leaps_past_the_due_time(
    work: Work, connection: psycopg.AsyncConnection
) -> None:
    left = iter((3_600.0, 3_600.0, -1.0))
    async with asyncio.timeout(60):
        await work.wait_for_work(connection, due_in=lambda: next(left))
    assert list(left) == []


async def test_wait_ends_when_the_connection_is_lost(
    work: Work, connection: psycopg.AsyncConnection, database: str
) -> None:
    waiting = asyncio.create_task(work.wait_for_work(connection))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    async with asyncio.timeout(60):
        await waiting


async def test_work_with_a_slot_has_no_connection_while_idle(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.connection_slots.SHORTEST_WAIT", 0)
    monkeypatch.setattr("workers.connection_slots.TRY_AGAIN", 0.2)
    slot = asyncio.Semaphore(1)
    work = Work(database, SCHEMA)
    async with asyncio.timeout(60), ownership(database, SCHEMA, "nothing", slot) as connection:
        assert slot.locked()
        waiting = asyncio.create_task(work.wait_for_work(connection))
        await asyncio.sleep(0.1)
        assert not slot.locked()
        async with ownership(database, SCHEMA, "nothing"):
            work.wake.set()
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert not slot.locked()
        await waiting
        assert slot.locked()
        await connection.execute("SELECT")
    assert not slot.locked()


async def test_work_with_a_slot_keeps_its_connection_for_a_short_wait_that_needs_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.connection_slots.SHORTEST_WAIT", 0)
    slot = asyncio.Semaphore(1)
    work = Work(database, SCHEMA)
    async with ownership(database, SCHEMA, "nothing", slot) as connection:
        waiting = asyncio.create_task(work.wait_for_work(connection, 1))
        await asyncio.sleep(0.1)
        assert slot.locked()
        work.wake.set()
        await waiting
        waiting = asyncio.create_task(work.wait_for_work(connection, 1, needs=False))
        await asyncio.sleep(0.1)
        assert not slot.locked()
        work.wake.set()
        await waiting


async def test_notifications_before_a_slot_is_free_lead_to_one_run(database: str) -> None:
    work, turn = Work(database, SCHEMA), asyncio.Semaphore(1)
    work.slots = ConnectionSlots(turn, turn, turn, turn)
    async with asyncio.timeout(60), run_parts([work]):
        for looks in (1, 2):
            async with turn:
                work.wake.set()
                await asyncio.sleep(0.1)
                work.wake.set()
            while turn.locked() or work.looks < looks:  # noqa: ASYNC110 - no signal
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert (work.looks, turn.locked()) == (looks, False)


async def test_work_with_a_slot_checks_no_clock_while_nothing_will_be_due(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.connection_slots.CLOCK_INTERVAL", 0.01)
    work, due = Work(database, SCHEMA), Mock(return_value=inf)
    slot = asyncio.Semaphore(1)
    async with asyncio.timeout(60), ownership(database, SCHEMA, "nothing", slot) as connection:
        waiting = asyncio.create_task(work.wait_for_work(connection, due_in=due))
        await asyncio.sleep(0.1)
        before = due.call_count
        await asyncio.sleep(0.1)
        assert due.call_count == before
        work.wake.set()
        await waiting


async def test_slot_is_released_if_the_database_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object, **__: object) -> psycopg.AsyncConnection:
        raise psycopg.OperationalError

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", fail)
    slot = asyncio.Semaphore(1)
    with pytest.raises(psycopg.OperationalError):
        async with ownership("", SCHEMA, "nothing", slot):
            pass
    assert not slot.locked()


async def test_log_is_owned_by_one_process_and_then_by_another(
    database: str, connection: psycopg.AsyncConnection
) -> None:
    first, second = LogOwnership(database), LogOwnership(database)
    async with asyncio.timeout(60), run_parts([first, second]):
        async with first.of(SCHEMA, list), first.of("another", list):
            assert await without_owner(connection, SCHEMA) == []
            other = asyncio.create_task(_own(second))
            await asyncio.sleep(1.5)
            assert not other.done()
        await other


async def _own(ownership: LogOwnership) -> None:
    async with ownership.of(SCHEMA, list):
        pass


async def test_owner_of_a_log_notices_that_its_lock_is_lost(
    database: str, connection: psycopg.AsyncConnection
) -> None:
    ownership, lost = LogOwnership(database), asyncio.Event()
    async with asyncio.timeout(60), run_parts([ownership]), ownership.of(SCHEMA, lost.set):
        await connection.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_locks
            WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"""
        )
        await lost.wait()


@pytest.mark.parametrize("others", [(), ("one_that_is_gone",)])
async def test_owner_of_a_log_notices_a_change_without_a_notification(
    database: str, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...]
) -> None:
    monkeypatch.setattr("workers.log_ownership.CHECK_INTERVAL", 0.0)
    ownership, changed = LogOwnership(database), Wake()
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        await stack.enter_async_context(run_parts([ownership]))
        for each in others:
            await stack.enter_async_context(ownership.of(each, list))
        await stack.enter_async_context(ownership.of(SCHEMA, list, changed.set))
        assert await changed.wait()
        assert await changed.wait(2.5) is bool(others)
        renew_log_id(database, SCHEMA)
        assert await changed.wait()
