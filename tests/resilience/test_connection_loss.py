"""Connections to PostgreSQL that break or hang at the worst moment."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable
from contextlib import AbstractContextManager, nullcontext
from time import monotonic

import psycopg
import pytest

from domain.errors import OutcomeUnknown, Overloaded
from domain.eventlog.connection import connections
from domain.eventlog.idempotency import IdempotencyKey
from domain.eventlog.store import Store
from domain.writer.command_bus import Bus
from domain.writer.state_cache import ALONE_AFTER
from tests.support.acknowledged_writes import Acknowledged, acknowledged, assert_log_contains
from tests.support.postgres_proxy import Cut, proxied
from tests.support.sample_aggregate import Begin, Note, Raise, message, running_bus, store

LONGEST_WAIT = 8.5
QUIET = ALONE_AFTER + 4
"""Commands after which the writer appends without the lock of the log."""

pytestmark = pytest.mark.anyio


def expect_answer(cut: Cut) -> AbstractContextManager[object]:
    """The expected answer when the connection breaks and the outcome can be found out at once."""
    return nullcontext() if cut is Cut.AFTER_COMMIT else pytest.raises(Overloaded)


def key(name: str) -> IdempotencyKey:
    return IdempotencyKey(f"caller:{name}", "body")


@pytest.mark.parametrize("cut", [Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT])
async def test_outcome_of_a_broken_commit_is_known_at_once_or_by_a_retry_with_the_same_key(
    database: str, cut: Cut
) -> None:
    """A recorded command is answered; the client is asked to repeat another one."""
    async with proxied(database) as proxy:
        log = store(proxy.conninfo)
        async with running_bus(log) as bus:
            await bus.send(message("a", Begin()))
            for count in range(1, 4):
                once = {"idempotency": key(f"k{count}")}
                proxy.cut = cut
                with expect_answer(cut):
                    assert not (await bus.send(message("a", Raise(), **once))).replayed
                assert proxy.cut is Cut.NEVER
                again = await bus.send(message("a", Raise(), **once))
                assert again.replayed == (cut is Cut.AFTER_COMMIT)
                assert again.versioned == await log.load("tally/a")
                assert (again.versioned.state.total, again.versioned.version) == (count, count + 1)


@pytest.mark.parametrize("cut", [Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT])
async def test_data_key_whose_commit_is_in_doubt_is_never_lost_nor_made_twice(
    database: str, cut: Cut
) -> None:
    async with proxied(database) as proxy:
        proxy.marks |= {Cut.BEFORE_COMMIT: b"tally.noted", Cut.AFTER_COMMIT: b"SELECT 1\0"}
        async with running_bus(store(proxy.conninfo)) as bus:
            await bus.send(message("a", Begin()))
            proxy.cut = cut
            with expect_answer(cut):
                await bus.send(message("a", Note(note="in doubt")))
            await bus.send(message("a", Note(note="certain")))
        other = store(database)
        async with running_bus(other):
            newest = await other.load("tally/a")
            assert newest is not None
            assert newest.state.note == "certain"
            assert newest.version == (3 if cut is Cut.AFTER_COMMIT else 2)


@pytest.mark.parametrize("cut", [Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT])
async def test_connection_lost_during_a_guarded_append_leaves_all_or_nothing(
    database: str, cut: Cut
) -> None:
    done = 1_000 if cut is Cut.AFTER_COMMIT else 0
    async with proxied(database) as proxy:
        proxy.marks |= {Cut.BEFORE_COMMIT: b"tally.raised", Cut.AFTER_COMMIT: b"SELECT 1\0"}
        log = store(proxy.conninfo)
        async with running_bus(log) as bus:
            await bus.send(message("a", Begin()))
            for count in range(1, 6):
                for _ in range(QUIET):
                    await bus.send(message("a", Raise()))
                assert bus._cache.alone
                proxy.cut = cut
                with expect_answer(cut):
                    await bus.send(message("a", Raise(amount=1_000)))
                assert proxy.cut is Cut.NEVER
                answer = await bus.send(message("a", Raise()))
                assert answer.versioned.state.total == (QUIET + 1 + done) * count
            rows = await log.read(0, 1_000)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))


async def test_command_with_an_unknown_outcome_is_not_called_refused(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may still be carried out: repeating it without a key would record it twice."""
    for limit in ("WRITE_TIMEOUT", "LOOKUP_TIMEOUT"):
        monkeypatch.setattr(connections, limit, 0.5)
    async with proxied(database) as proxy, running_bus(store(proxy.conninfo)) as bus:
        await bus.send(message("a", Begin()))
        for _ in range(QUIET):
            await bus.send(message("a", Raise()))
        proxy.freeze()
        with pytest.raises(OutcomeUnknown):
            await bus.send(message("a", Raise()))
        proxy.thaw()
        assert (await bus.send(message("a", Raise()))).versioned.state.total in (
            QUIET + 1,
            QUIET + 2,
        )


async def test_statement_on_a_hanging_server_is_never_carried_out_later(
    database: str,
) -> None:
    """The connection breaks while its backend waits for a lock: the backend ends before the client may repeat."""
    async with running_bus(log := store(database)) as bus:
        await bus.send(message("a", Begin()))
        for _ in range(QUIET):
            await bus.send(message("a", Raise()))
        with psycopg.connect(database, options="-c search_path=executions") as holder:
            holder.execute("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
            sent = bus.submit(message("a", Raise(amount=100)))
            await asyncio.sleep(0.5)
            cut(log)
            with pytest.raises(Overloaded):
                await sent
        assert (await bus.send(message("a", Raise()))).versioned.state.total == QUIET + 1


def cut(log: Store) -> None:
    """Break the connection that writes, at this end."""
    writer = log.connections._writer
    assert writer is not None
    with socket.socket(fileno=os.dup(writer.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


async def test_random_connection_losses_lose_and_double_nothing(
    database: str, thorough: bool
) -> None:
    """Callers repeat refused commands, under the same key, until they are answered."""
    end = monotonic() + (30 if thorough else 4)
    answers: list[Acknowledged] = []
    async with proxied(database) as proxy:
        log = store(proxy.conninfo)
        async with running_bus(log) as bus, asyncio.TaskGroup() as group:
            for name in "abcd":
                await send_until_answered(bus, name, f"begin {name}", Begin())
            for caller in range(24):
                group.create_task(raise_tallies(bus, caller, end, answers))
            rng = random.Random(7)
            while monotonic() < end:
                await asyncio.sleep(rng.uniform(0.02, 0.3))
                if rng.random() < 0.5:
                    proxy.cut_all()
                else:
                    await asyncio.to_thread(terminate_all, database)
        async with running_bus(reading := store(database)):
            rows = await reading.read(0, 1_000_000)
    assert len(answers) > 100
    assert_log_contains(rows, answers)
    assert len(rows) == len(answers) + 4


async def raise_tallies(bus: Bus, caller: int, end: float, answers: list[Acknowledged]) -> None:
    count = 0
    while monotonic() < end:
        label = f"{caller}-{count}"
        answers.append(
            await send_until_answered(bus, "abcd"[caller % 4], label, Raise(amount=caller + 1))
        )
        count += 1


async def send_until_answered(
    bus: Bus, tally: str, label: str, command: Begin | Raise
) -> Acknowledged:
    while True:
        try:
            answer = await bus.send(
                message(tally, command, correlation=label, idempotency=key(label))
            )
        except (Overloaded, OutcomeUnknown):
            await asyncio.sleep(0.02)
        else:
            return acknowledged(label, answer)


def terminate_all(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_first_command_and_reads_after_a_restart_are_answered(
    database: str,
) -> None:
    """Idle connections that the server has closed are noticed before use."""
    log = store(database)
    async with running_bus(log) as bus:
        await bus.send(message("a", Begin()))
        await asyncio.gather(*(log.read(0, 10) for _ in range(20)))
        await asyncio.to_thread(terminate_all, database)
        await asyncio.sleep(0.2)
        assert (await bus.send(message("a", Raise()))).versioned.version == 2
        assert len(await log.read(0, 10)) == 2


async def test_hanging_database_times_out(database: str) -> None:
    async with proxied(database) as proxy:
        log = store(proxy.conninfo)
        async with running_bus(log) as bus:
            await bus.send(message("a", Begin()))
            proxy.freeze()
            sent = [bus.submit(message("a", Raise())) for _ in range(1_500)]
            reads = [log.head() for _ in range(20)]
            late = asyncio.create_task(after(2, bus.send(message("a", Raise()))))
            waited = await asyncio.gather(*map(refusal, [*sent, *reads, late]))
            assert max(waited) < LONGEST_WAIT
            proxy.thaw()
            assert (await bus.send(message("a", Raise()))).versioned.state.total >= 1
            assert (await log.head())[0] >= 2


async def refusal(answer: Awaitable[object]) -> float:
    """How long the refusal took."""
    begun = monotonic()
    with pytest.raises((Overloaded, OutcomeUnknown)):
        await answer
    return monotonic() - begun


async def after(seconds: float, answer: Awaitable[object]) -> object:
    await asyncio.sleep(seconds)
    return await answer


async def test_frozen_lock_holder_times_out(
    database: str,
) -> None:
    async with running_bus(store(database)) as bus:
        await bus.send(message("a", Begin()))
        with psycopg.connect(database, options="-c search_path=executions") as sleeper:
            sleeper.execute("SELECT position FROM head FOR UPDATE")
            assert await refusal(bus.send(message("a", Raise()))) < LONGEST_WAIT
        assert (await bus.send(message("a", Raise()))).versioned.version == 2
