"""A fault of one command, stream or caller affects no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar

import pytest

from domain.errors import Damaged, NotFound, OutcomeUnknown, Overloaded, TooLarge
from domain.eventlog.append import OptimisticTransaction, Transaction
from domain.eventlog.codec import Codec, EventRow
from domain.eventlog.encryption import Vault
from domain.eventlog.idempotency import IdempotencyKey
from domain.eventlog.keyring import Keyring
from domain.eventlog.store import Store
from domain.model import Aggregate, Command, Context, Event, Recordable, Recorded, Versioned
from domain.writer import batch as batch_module
from domain.writer import command_bus as bus_module
from domain.writer import queue
from tests.support.memory_store import MemoryLog, MemoryStateLoader, MemoryStore
from tests.support.sample_aggregate import (
    MASTER_KEY,
    NOON,
    Begin,
    Note,
    Raise,
    Tally,
    TallyNoted,
    codec,
    keyring,
    message,
    running_bus,
)

NewStore = Callable[[], Store]

pytestmark = pytest.mark.anyio


class Unstorable(Event):
    """Its content cannot be encoded as JSON."""

    type: ClassVar[str] = "tally.unstorable"
    content: Any

    def apply(self, state: Tally, recorded: Recorded) -> Tally:
        return state


class Botch(Command[Tally]):
    """Records a sealed event, and then one that cannot be stored."""

    wire_name: ClassVar[str] = "botch"

    def decide(self, state: Tally, context: Context) -> Iterator[Recordable]:
        yield TallyNoted(note="never stored")
        yield Unstorable(content="\ud800")


class Misread(Raise):
    """A command whose `reads` has a bug."""

    wire_name: ClassVar[str] = "misread"

    def reads(
        self, state: Tally | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        raise ZeroDivisionError


async def test_fault_after_a_commit_records_nothing_twice(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = new_store()
    async with running_bus(log) as bus:
        await bus.send(message("a", Begin()))

        def fail(*_: Any) -> None:
            monkeypatch.undo()
            raise MemoryError

        monkeypatch.setattr(bus._cache, "remember", fail)
        sent = [bus.submit(message("a", Raise())) for _ in range(2)]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert [type(answer) for answer in answers] == [OutcomeUnknown] * 2
        assert (await bus.send(message("a", Raise()))).versioned.state.total == 3


class Counting(MemoryStore):
    """Counts the transactions; loads states at a version only if it may."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log, codec(), keyring())
        self.transactions = 0
        self.may_load = asyncio.Event()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self.transactions += 1
        async with super().transaction() as transaction:
            yield transaction

    @asynccontextmanager
    async def attempt(
        self, session: int, position: int, at: datetime
    ) -> AsyncIterator[OptimisticTransaction]:
        self.transactions += 1
        async with super().attempt(session, position, at) as attempt:
            yield attempt

    async def load(self, stream: str, version: int = 2**62) -> Versioned[Aggregate] | None:
        await self.may_load.wait()
        return await super().load(stream, version)


async def write_unreadable(store: Store) -> None:
    """Write an unreadable stream `tally/strange`, at position 2."""
    event = EventRow(2, 1, NOON, "tally/strange", "tally.from-the-future", '{"by":"x"}', b"{}")
    async with store.transaction() as transaction:
        await transaction.append([event], [], transaction.at)


async def test_bug_in_reads_affects_no_other_command_of_the_batch(new_store: NewStore) -> None:
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        sent = [bus.submit(message("a", Raise())) for _ in range(20)]
        mistaken = bus.submit(message("a", Misread()))
        sent += [bus.submit(message("a", Raise())) for _ in range(20)]
        with pytest.raises(ZeroDivisionError):
            await mistaken
        answers = await asyncio.gather(*sent)
    assert [answer.versioned.state.total for answer in answers] == list(range(1, 41))


async def test_unloadable_stream_affects_no_other_command_of_the_batch(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, split = new_store(), list[int]()
    split_failed = queue.CommandQueue.split_failed

    def write_note(waiting: queue.CommandQueue, taken: Sequence[queue.WaitingCommand]) -> None:
        split.append(len(taken))
        split_failed(waiting, taken)

    monkeypatch.setattr(queue.CommandQueue, "split_failed", write_note)
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin()))
        await write_unreadable(store)
        good = [bus.submit(message("a", Raise())) for _ in range(5)]
        bad = [
            bus.submit(message("strange", Raise())),
            bus.submit(message("b", Begin(after="strange"))),
        ]
        good += [bus.submit(message("a", Raise())) for _ in range(5)]
        for refused in bad:
            with pytest.raises(Damaged):
                await refused
        assert [(await answer).versioned.state.total for answer in good] == list(range(1, 11))
    assert split == []


async def test_dry_run_on_an_unloadable_stream_is_refused_as_damaged(new_store: NewStore) -> None:
    store = new_store()
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin()))
        await write_unreadable(store)
        for refused in (message("strange", Raise()), message("b", Begin(after="strange"))):
            with pytest.raises(Damaged):
                await bus.dry_run(refused)
        assert (await bus.dry_run(message("a", Raise()))).versioned.version == 2


async def test_event_that_cannot_be_stored_leaves_no_key_behind(new_store: NewStore) -> None:
    store, other = new_store(), new_store()
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin()))
        with pytest.raises(Exception, match="surrogates"):
            await bus.send(message("a", Botch()))
        assert (await bus.send(message("a", Note(note="kept")))).versioned.version == 2
    async with running_bus(other):
        versioned = await other.load("tally/a")
    assert versioned is not None
    assert versioned.state.note == "kept"


async def test_state_that_cannot_be_frozen_is_loaded_from_its_events(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_snapshot(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Codec, "take_snapshot", take_snapshot)
    store = new_store()
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin()))
        await asyncio.gather(*(bus.submit(message("a", Raise())) for _ in range(600)))
        versioned = await store.load("tally/a")
    assert versioned is not None
    assert versioned.state.total == 600


async def test_key_evicted_from_the_ring_is_looked_up_and_not_made_again(
    new_store: NewStore,
) -> None:
    store, other = new_store(), new_store()
    store.states.keyring = Keyring(Vault(MASTER_KEY), capacity=2)
    async with running_bus(store) as bus:
        for name in "abcd":
            await bus.send(message(name, Begin()))
            await bus.send(message(name, Note(note=f"first of {name}")))
        await bus.send(message("a", Note(note="second of a")))
    async with running_bus(other):
        notes = [await other.load("tally/a", version) for version in (2, 3)]
    assert [versioned and versioned.state.note for versioned in notes] == [
        "first of a",
        "second of a",
    ]


async def test_look_ups_of_missing_streams_do_not_grow_the_cache(new_store: NewStore) -> None:
    store = new_store()
    store.states.keyring = Keyring(Vault(MASTER_KEY), capacity=10)
    async with running_bus(store) as bus:
        for place in range(200):
            with pytest.raises(NotFound):
                await bus.send(message(f"nobody-{place}", Raise()))
    assert len(store.keyring._absent) <= 11


async def test_replayed_answer_delays_no_other_command() -> None:
    store = Counting(MemoryLog())
    once = {"idempotency": IdempotencyKey("caller:k", "body")}
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin(), **once))
        repeated = bus.submit(message("a", Begin(), **once))
        assert (await bus.send(message("a", Raise()))).versioned.version == 2
        assert not repeated.done()
        store.may_load.set()
        assert (await repeated).replayed


async def test_unloadable_replay_is_refused_while_written_commands_are_answered() -> None:
    store = Counting(MemoryLog())
    once = {"idempotency": IdempotencyKey("caller:k", "body")}
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin(), **once))
        store.log.events[0] = store.log.events[0]._replace(type="tally.unknown")
        store.may_load.set()
        repeated = bus.submit(message("a", Begin(), **once))
        raised = bus.submit(message("a", Raise()))
        with pytest.raises(Damaged):
            await repeated
        assert (await raised).versioned.version == 2


async def test_command_that_waited_too_long_is_refused_unexecuted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "LONGEST_WAIT", 0.1)
    store = Counting(MemoryLog())
    async with running_bus(store) as bus:
        async with store.log.lock:
            taken = bus.submit(message("a", Begin()))
            await asyncio.sleep(0)
            late = bus.submit(message("a", Raise()))
            await asyncio.sleep(0.2)
        assert (await taken).created
        with pytest.raises(Overloaded):
            await late
        assert (await bus.send(message("a", Raise()))).versioned.state.total == 1


async def test_stopped_writer_refuses_waiting_and_new_commands() -> None:
    store = Counting(MemoryLog())
    async with running_bus(store) as bus:
        async with store.log.lock:
            taken = bus.submit(message("a", Begin()))
            await asyncio.sleep(0)
            waits = bus.submit(message("b", Begin()))
            assert bus._task is not None
            bus._task.cancel()
            with pytest.raises(OutcomeUnknown):  # it may be written
                await taken
            with pytest.raises(Overloaded):
                await waits
        with pytest.raises(Overloaded):
            bus.submit(message("c", Begin()))


async def test_large_events_are_written_in_several_commits_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bus_module, "LARGEST_BATCH", 5_000)
    store = Counting(MemoryLog())
    async with running_bus(store) as bus:
        sent = [bus.submit(message("a", Begin()))]
        sent += [bus.submit(message("a", Note(note="x" * 1_000))) for _ in range(40)]
        answers = await asyncio.gather(*sent)
    assert all(
        before.versioned.version < after.versioned.version for before, after in pairwise(answers)
    )
    assert 8 <= store.transactions <= 14


async def test_full_stream_accepts_only_small_commands(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "STREAM_SIZE_LIMIT", 110_000)
    large, small = Note(note="x" * 40_000), Note(note="done")
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("b", Begin()))
        await bus.send(message("a", large))
        await bus.send(message("a", large))
        sent = [
            bus.submit(message(name, note))
            for name, note in zip("aba", [large, large, small], strict=True)
        ]
        refused, neighbour, taken = await asyncio.gather(*sent, return_exceptions=True)
        assert isinstance(refused, TooLarge)
        assert neighbour.versioned.version == 2  # type: ignore[union-attr]  # or the test fails
        assert taken.versioned.state.note == "done"  # type: ignore[union-attr]  # the same
    async with running_bus(new_store()) as bus:  # as full after it is loaded again
        with pytest.raises(TooLarge):
            await bus.send(message("a", large))


async def test_batch_that_times_out_is_retried_in_smaller_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = MemoryStore(MemoryLog(), codec(), keyring())
    load, batches = MemoryStateLoader.load, list[int]()

    async def slowly(
        states: MemoryStateLoader, connection: Any, known: Mapping[str, Any], **how: Any
    ) -> dict[str, Versioned[Any]]:
        batches.append(len(known))
        if len(known) > 10:
            raise Overloaded
        return await load(states, connection, known, **how)

    monkeypatch.setattr(MemoryStateLoader, "load", slowly)
    async with running_bus(log) as bus:
        for _ in range(4):
            sent = [bus.submit(message(f"{number}", Begin())) for number in range(32)]
            await asyncio.gather(*sent, return_exceptions=True)
    assert batches[:2] == [32, 16]
    assert (await log.head())[0] > 0


async def test_cached_states_are_dropped_after_a_lost_connection() -> None:
    """As after a failover to a server that lacked the last commits."""
    log = MemoryLog()
    one, other = (MemoryStore(log, codec(), keyring()) for _ in range(2))
    async with running_bus(one) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("a", Note(note="lost")))
        del log.events[1:]
        log.keys.clear()
        log.session += 1
        answer = await bus.send(message("a", Note(note="new")))
        assert (answer.versioned.version, answer.versioned.position) == (2, 2)
    async with running_bus(other):
        versioned = await other.load("tally/a")
    assert versioned is not None
    assert versioned.state.note == "new"


async def test_replies_are_forgotten_after_a_day(new_store: NewStore) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    once = {"idempotency": IdempotencyKey("caller:k", "body")}
    store = new_store()
    async with running_bus(store, clock=lambda: now) as bus:
        await bus.send(message("a", Begin(), **once))
        now += timedelta(hours=25)
        assert not (await bus.send(message("b", Begin(), **once))).replayed
        assert (await bus.send(message("b", Begin(), **once))).replayed


async def test_recorded_time_never_decreases_though_the_clock_does(new_store: NewStore) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    async with running_bus(new_store(), clock=lambda: now) as bus:
        begun = await bus.send(message("a", Begin()))
        now -= timedelta(hours=1)
        assert (await bus.send(message("a", Raise()))).versioned.at == begun.versioned.at


class Mistaken:
    """A receiver that raises."""

    def answer(self, _: object) -> None:
        raise ZeroDivisionError

    refuse = answer


async def test_receiver_that_raises_affects_no_other_caller(new_store: NewStore) -> None:
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        bus.deliver(message("a", Raise()), Mistaken())
        bus.deliver(message("a", Raise(limit=0)), Mistaken())
        assert (await bus.send(message("a", Raise()))).versioned.state.total == 2
        assert (await bus.send(message("a", Raise()))).versioned.state.total == 3
