"""A writer beside another process on one log: it appends without the lock where no other commit can have come first, and
decides every command on the current state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.errors import NotFound, OutcomeUnknown, Overloaded
from domain.eventlog.append import StreamMoved, Transaction
from domain.eventlog.codec import SNAPSHOT_EVERY, EventRow
from domain.eventlog.connection.commit import Commit, OutcomeLost
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.store import Store
from domain.model import Command
from domain.writer.command_bus import Bus
from tests.support.sample_aggregate import (
    MASTER_KEY,
    Begin,
    Erase,
    Note,
    Raise,
    Stumble,
    TooMuch,
    clock,
    message,
    running_bus,
    store,
)
from tests.support.tampering import change

pytestmark = pytest.mark.anyio
NewStore = Callable[[], Store]


@asynccontextmanager
async def two_writers(new_store: NewStore, **how: Any) -> AsyncIterator[tuple[Bus, Bus]]:
    """Both have the tallies `a` and `b` in their caches, and know of each other."""
    async with running_bus(new_store()) as one, running_bus(new_store(), **how) as other:
        for tally in ("a", "b"):
            await one.send(message(tally, Begin()))
            await one.send(message(tally, Note(note="sealed")))
            await other.send(message(tally, Raise(amount=0)))
            await one.send(message(tally, Raise(amount=0)))
        yield one, other


def note_locks(monkeypatch: pytest.MonkeyPatch, bus: Bus) -> list[None]:
    """A value is appended whenever a writer takes the lock of the log."""
    taken: list[None] = []
    transaction = bus._store.transaction

    def count_call() -> Any:
        taken.append(None)
        return transaction()

    monkeypatch.setattr(bus._store, "transaction", count_call)
    return taken


@pytest.mark.parametrize("command", [Raise(amount=3), Note(note="more")], ids=["open", "sealed"])
async def test_append_beside_another_process_takes_one_statement(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch, command: Command[Any]
) -> None:
    async with two_writers(new_store) as (one, other):
        taken = note_locks(monkeypatch, one)
        monkeypatch.setattr(Transaction, "load", None)  # would be called
        for times in range(1, 13):
            before = await one.send(message("a", command))
            between = await one.send(message("a", Raise()))
            assert between.versioned.position == before.versioned.position + 1
            there = await other._store.append(
                [raised_row("b", 2 + times)], clock(), session=other._cache.session
            )
            assert there == between.versioned.position
        assert not taken
        read = await one._store.load_with_head("tally/a")
        assert read.versioned == between.versioned


def raised_row(tally: str, version: int) -> EventRow:
    return EventRow(
        1,
        version,
        clock(),
        f"tally/{tally}",
        "tally.raised",
        '{"by":"x"}',
        b'{"amount":1}',
    )


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        (Raise(limit=10), TooMuch),
        (Raise(amount=0), None),
        (Raise(), None),
        (Note(note="later"), None),
        (Erase(), None),
        (Stumble(), ZeroDivisionError),
    ],
)
async def test_command_is_decided_on_what_another_process_wrote_to_its_stream(
    new_store: NewStore, command: Command[Any], refused: type[Exception] | None
) -> None:
    async with two_writers(new_store) as (one, other):
        there = await other.send(message("a", Raise(amount=10)))
        if refused is None:
            answer = await one.send(message("a", command))
            assert answer.versioned.state.total >= 10
            assert answer.versioned.version >= there.versioned.version
        else:
            with pytest.raises(refused):
                await one.send(message("a", command))


async def test_cached_states_are_checked_after_a_batch_beside_another_process(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_writers(new_store) as (one, other):
        await other.send(message("b", Raise(amount=10)))
        with monkeypatch.context() as patched:
            taken = note_locks(patched, one)
            await one.send(message("a", Raise()))
            assert not taken
        answer = await one.send(message("b", Raise(amount=0)))
        assert answer.versioned.state.total == 10


async def test_command_that_reads_a_stream_takes_the_lock(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_writers(new_store) as (one, other):
        await other.send(message("c", Begin()))
        taken = note_locks(monkeypatch, one)
        begun = await one.send(message("d", Begin(after="c")))
        assert begun.created
        assert taken
        with pytest.raises(NotFound):
            await one.send(message("nobody", Raise()))


async def test_event_has_the_time_of_its_answer_although_another_clock_is_ahead(
    new_store: NewStore,
) -> None:
    def ahead() -> datetime:
        return datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)

    async with two_writers(new_store, clock=ahead) as (one, other):
        for _ in range(3):
            there = await other.send(message("b", Raise()))
            answer = await one.send(message("a", Raise()))
            assert answer.versioned.at >= there.versioned.at
            assert (await one._store.load_with_head("tally/a")).versioned == answer.versioned
        rows = await one._store.read(0, 100)
        assert [row.at for row in rows] == sorted(row.at for row in rows)


async def test_snapshots_equal_the_folded_events(new_store: NewStore) -> None:
    async with two_writers(new_store) as (one, other):
        for number in range(SNAPSHOT_EVERY // 10):
            sent = [one.submit(message("a", Raise())) for _ in range(10)]
            await asyncio.gather(*sent, other.send(message("b", Raise())))
            assert number < SNAPSHOT_EVERY
    async with running_bus(new_store()) as reader:
        last = await reader.send(message("a", Raise(amount=0)))
        rows = await reader._store.history("tally/a")
        assert (last.versioned.version, last.versioned.position) == (
            rows[-1].version,
            rows[-1].position,
        )
        assert last.versioned.state.total == SNAPSHOT_EVERY


async def test_two_writers_of_common_streams_agree_on_all_of_them(new_store: NewStore) -> None:
    async with two_writers(new_store) as (one, other):

        async def write(bus: Bus, own: str) -> int:
            await bus.send(message(own, Begin()))
            for number in range(40):
                await bus.send(message(own, Raise()))
                if number % 5 == 0:
                    await bus.send(message("a", Raise()))
                    await bus.send(message("b", Note(note=own)))
            return 8

        sent = await asyncio.gather(write(one, "c"), write(other, "d"))
        for tally, total in (("a", sum(sent)), ("b", 0), ("c", 40), ("d", 40)):
            found = [await bus.send(message(tally, Raise(amount=0))) for bus in (one, other)]
            read = await one._store.load_with_head(f"tally/{tally}")
            assert [each.versioned for each in found] == [read.versioned] * 2
            assert found[0].versioned.state.total == total
        rows = await one._store.read(0, 1_000)
        assert [row.position for row in rows] == list(range(1, len(rows) + 1))


async def lose_connection(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, *, written: bool, found: bool = True
) -> None:
    """Let the next append lose its connection."""
    append = bus._store.append

    async def breaking(events: Sequence[EventRow], at: datetime, **how: Any) -> int:
        monkeypatch.setattr(bus._store, "append", append)
        if written:
            await append(events, at, **how)
        await bus._store.connections.drop_writer()
        if not found:
            monkeypatch.setattr(bus._store, "find_written", fail_to_find_out)
        raise OutcomeLost(Commit(events, at).check)

    monkeypatch.setattr(bus._store, "append", breaking)


async def fail_to_find_out(*_: Any) -> int | None:
    raise OutcomeUnknown


async def test_commit_whose_connection_broke_is_looked_up(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_writers(lambda: store(database)) as (one, other):
        there = await other.send(message("b", Raise()))
        await lose_connection(one, monkeypatch, written=True)
        answer = await one.send(message("a", Raise()))
        assert answer.versioned.position == there.versioned.position + 1
        await other.send(message("b", Raise()))
        await lose_connection(one, monkeypatch, written=False)
        with pytest.raises(Overloaded):
            await one.send(message("a", Raise()))
        assert (await one.send(message("a", Raise()))).versioned.state.total == 2


async def test_commit_that_was_found_is_answered_although_reads_fail(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To refuse or repeat the command would record it twice."""
    async with two_writers(lambda: store(database)) as (one, other):
        there = await other.send(message("b", Raise()))
        await lose_connection(one, monkeypatch, written=True)
        with monkeypatch.context() as patched:
            patched.setattr(one._store, "reader", refuse_reader)
            answer = await one.send(message("a", Raise()))
        assert answer.versioned.position == there.versioned.position + 1
        assert answer.versioned == (await one._store.load_with_head("tally/a")).versioned


def refuse_reader() -> None:
    raise Overloaded


async def test_commit_whose_outcome_cannot_be_found_out_is_unknown(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_writers(lambda: store(database)) as (one, other):
        await other.send(message("b", Raise()))
        await lose_connection(one, monkeypatch, written=True, found=False)
        with pytest.raises(OutcomeUnknown):
            await one.send(message("a", Raise()))


async def test_writer_tries_no_guarded_append_for_a_while_after_conflicts(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_writers(new_store) as (one, other):
        await other.send(message("a", Raise()))
        await one.send(message("a", Raise()))
        tried: list[None] = []

        async def count_call(*_: Any, **__: Any) -> int:
            tried.append(None)
            raise StreamMoved

        monkeypatch.setattr(one._store, "append", count_call)
        for _ in range(4):
            await other.send(message("b", Raise()))
            await one.send(message("a", Raise()))
        assert not tried


async def test_cached_state_whose_last_event_is_not_in_the_log_any_more_is_not_used(
    database: str,
) -> None:
    """As after a backup was restored under an open connection."""
    async with two_writers(lambda: store(database)) as (one, other):
        lost = await one.send(message("a", Raise(amount=10)))
        change(
            database,
            "UPDATE head SET position = position - 1;"
            "DELETE FROM events WHERE notification_id > (SELECT position FROM head)",
        )
        answer = await one.send(message("a", Raise()))
        assert answer.versioned.version == lost.versioned.version
        assert answer.versioned.state.total == 1
        assert answer.versioned == (await other._store.load_with_head("tally/a")).versioned


async def test_snapshot_is_sealed_with_the_key_of_its_stream_although_the_ring_evicted_it(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_one_key() -> Store:
        made = new_store()
        made.states.keyring = Keyring(Vault(MASTER_KEY), capacity=1)
        return made

    async with two_writers(with_one_key) as (one, other):
        await one.send(message("a", Raise()))
        await other.send(message("b", Raise()))
        append = one._store.append

        async def reading_meanwhile(events: Sequence[EventRow], at: datetime, **how: Any) -> int:
            before = await append(events, at, **how)
            await one._store.keys(["tally/b"])
            return before

        monkeypatch.setattr(one._store, "append", reading_meanwhile)
        monkeypatch.setattr("domain.eventlog.codec.SNAPSHOT_EVERY", 1)
        taken = note_locks(monkeypatch, one)
        answer = await one.send(message("a", Raise()))
        assert not taken
        assert not one._store.keyring.unsaved_keys(["tally/a"])
    async with running_bus(new_store()) as reader:
        found = await reader._store.load("tally/a")
        assert found
        assert found._replace(size=answer.versioned.size) == answer.versioned
