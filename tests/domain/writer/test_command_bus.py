"""What the command bus guarantees to its callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from domain.errors import (
    AlreadyExists,
    DomainError,
    IdempotencyKeyReused,
    NotFound,
    Overloaded,
    VersionMismatch,
)
from domain.eventlog.append import Transaction
from domain.eventlog.idempotency import REPLY_RETENTION, IdempotencyKey
from domain.eventlog.store import Store
from domain.writer.command_bus import Answer, Bus
from domain.writer.state_cache import ALONE_AFTER
from tests.support.sample_aggregate import (
    NOON,
    Begin,
    Note,
    Raise,
    Stumble,
    TooMuch,
    message,
    running_bus,
)

NewStore = Callable[[], Store]

pytestmark = pytest.mark.anyio


async def test_answer_has_state_version_and_position(new_store: NewStore) -> None:
    async with running_bus(new_store()) as bus:
        begun = await bus.send(message("a", Begin()))
        raised = await bus.send(message("a", Raise(amount=5)))
    assert begun.created
    assert (begun.versioned.version, begun.versioned.position) == (1, 1)
    assert (raised.versioned.state.total, raised.versioned.version, raised.versioned.position) == (
        5,
        2,
        2,
    )


async def test_positions_are_dense_although_commands_are_refused(new_store: NewStore) -> None:
    store = new_store()
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin()))
        sent = [bus.submit(message("a", Raise(limit=10))) for _ in range(50)]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        rows = await store.read(0, 1000)
    assert sum(isinstance(answer, TooMuch) for answer in answers) == 40
    assert [row.position for row in rows] == list(range(1, 12))
    assert [row.version for row in rows] == list(range(1, 12))


async def test_refusal_or_bug_affects_no_other_command_of_the_batch(new_store: NewStore) -> None:
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        before = bus.submit(message("a", Raise()))
        mistaken = bus.submit(message("a", Stumble()))
        refused = bus.submit(message("a", Raise(limit=0)))
        after = bus.submit(message("a", Raise()))
        with pytest.raises(ZeroDivisionError):
            await mistaken
        with pytest.raises(TooMuch):
            await refused
        assert (await before).versioned.state.total == 1
        assert (await after).versioned.state.total == 2


async def test_create_needs_a_new_stream_and_other_commands_an_existing_one(
    new_store: NewStore,
) -> None:
    async with running_bus(new_store()) as bus:
        with pytest.raises(NotFound):
            await bus.send(message("a", Raise()))
        await bus.send(message("a", Begin()))
        with pytest.raises(AlreadyExists):
            await bus.send(message("a", Begin()))


async def test_command_may_read_a_stream_begun_in_the_same_batch(new_store: NewStore) -> None:
    async with running_bus(new_store()) as bus:
        first = bus.submit(message("a", Begin()))
        second = bus.submit(message("b", Begin(after="a")))
        third = bus.submit(message("c", Begin(after="nobody")))
        assert (await first).versioned.position == 1
        assert (await second).versioned.position == 2
        with pytest.raises(DomainError, match="no such tally"):
            await third


async def test_if_match_refuses_another_version(new_store: NewStore) -> None:
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        with pytest.raises(VersionMismatch) as refused:
            await bus.send(message("a", Raise(), if_match=(0, 2)))
        assert refused.value.members == {"version": 1}
        assert (await bus.send(message("a", Raise(), if_match=(1,)))).versioned.version == 2


async def test_idempotency_key_repeats_the_answer_even_after_a_restart(
    new_store: NewStore,
) -> None:
    once = {"idempotency": IdempotencyKey("caller:k1", "body-1")}
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        first = bus.submit(message("a", Raise(), **once))
        second = bus.submit(message("a", Raise(), **once))
        assert not (await first).replayed
        assert (await second).replayed
        await bus.send(message("a", Raise(amount=100)))
    async with running_bus(new_store()) as bus:
        repeated = await bus.send(message("a", Raise(), **once))
        assert repeated.replayed
        assert repeated.versioned == (await first).versioned
        other = {"idempotency": IdempotencyKey("caller:k1", "body-2")}
        with pytest.raises(IdempotencyKeyReused):
            await bus.send(message("a", Raise(), **other))


async def test_idempotency_key_repeats_a_refusal(new_store: NewStore) -> None:
    once = {"idempotency": IdempotencyKey("caller:k2", "body")}
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        with pytest.raises(TooMuch):
            await bus.send(message("a", Raise(limit=0), **once))
        with pytest.raises(DomainError) as repeated:
            await bus.send(message("a", Raise(limit=0), **once))
    assert (repeated.value.code, repeated.value.replayed) == ("illegal-transition", True)


async def test_command_beyond_a_full_queue_is_refused_at_once(new_store: NewStore) -> None:
    async with running_bus(new_store(), limit=3) as bus:
        taken = [bus.submit(message("a", Begin())) for _ in range(3)]
        with pytest.raises(Overloaded):
            bus.submit(message("a", Begin()))
        answers = await asyncio.gather(*taken, return_exceptions=True)
        assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 2


async def test_two_writers_of_one_stream_see_each_others_events(new_store: NewStore) -> None:
    store = new_store()
    async with running_bus(store) as left, running_bus(new_store()) as right:
        await left.send(message("a", Begin()))
        sent = [bus.submit(message("a", Raise())) for _ in range(200) for bus in (left, right)]
        answers = await asyncio.gather(*sent)
        rows = await store.read(0, 1000)
    assert sorted(answer.versioned.state.total for answer in answers) == list(range(1, 401))
    assert [row.position for row in rows] == list(range(1, 402))


async def test_writer_that_was_long_alone_notices_another(new_store: NewStore) -> None:
    async with running_bus(new_store()) as one, running_bus(new_store()) as other:
        await one.send(message("a", Begin()))
        for turn in range(1, 4):
            for _ in range(2 * ALONE_AFTER):
                await one.send(message("a", Raise()))
            await other.send(message("a", Raise(amount=100)))
            with pytest.raises(
                TooMuch
            ):  # nothing is recorded, but it is not decided on an old state
                await one.send(message("a", Raise(limit=100 * turn)))
            answer = await one.send(message("a", Raise(amount=0)))
            assert answer.versioned.state.total == turn * (100 + 2 * ALONE_AFTER)
            await other.send(message("b", Begin(after="a") if turn == 1 else Raise()))
            await one.send(message("a", Note(note="sealed")))
        assert answer.versioned.version + 1 == 1 + 3 * (2 * ALONE_AFTER + 2)


async def test_outdated_cached_state_is_brought_up_to_date(
    new_store: NewStore,
) -> None:
    async with running_bus(new_store()) as left, running_bus(new_store()) as right:
        await left.send(message("a", Begin()))
        await left.send(message("b", Begin()))
        await right.send(message("a", Raise()))
        await left.send(message("b", Raise()))
        assert (await left.send(message("a", Raise()))).versioned.state.total == 2


async def test_sealed_content_is_stored_as_ciphertext_and_read_back(new_store: NewStore) -> None:
    store = new_store()
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("a", Note(note="for your eyes only")))
        rows = await store.read(1, 1)
        assert b"eyes" not in rows[0].data
        assert b"$sealed" in rows[0].data
    store = new_store()
    async with running_bus(store) as bus:
        versioned = await store.load("tally/a")
        assert versioned is not None
        assert versioned.state.note == "for your eyes only"
        assert (await bus.send(message("a", Raise()))).versioned.state.note == "for your eyes only"


async def test_long_stream_is_loaded_as_of_any_version(new_store: NewStore) -> None:
    store = new_store()
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("a", Note(note="secret")))
        await asyncio.gather(*(bus.submit(message("a", Raise())) for _ in range(1200)))
        for version in (1, 499, 500, 501, 1000, 1202):
            versioned = await store.load("tally/a", version)
            assert versioned is not None
            assert (versioned.version, versioned.state.total) == (version, max(0, version - 2))
            assert versioned.state.note == ("secret" if version > 1 else None)


async def become_lone_writer(bus: Bus) -> None:
    """Let it write until it no longer takes the lock, nor checks whether a new stream exists."""
    await bus.send(message("other", Begin()))
    for _ in range(2 * ALONE_AFTER):
        await bus.send(message("other", Raise()))


async def test_creation_of_an_existing_stream_is_refused_even_by_a_lone_writer(
    new_store: NewStore,
) -> None:
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("a", Note(note="kept")))
    store = new_store()
    async with running_bus(store) as bus:
        await become_lone_writer(bus)
        sent = [
            bus.submit(message("a", Begin())),
            bus.submit(message("a", Raise())),
            bus.submit(message("b", Begin())),
        ]
        taken, raised, begun = await asyncio.gather(*sent, return_exceptions=True)
        noted = await bus.send(message("a", Note(note="more")))
        rows = await store.read(0, 1000)
    assert isinstance(taken, AlreadyExists)
    assert isinstance(raised, Answer)
    assert raised.versioned.version == 3
    assert isinstance(begun, Answer)
    assert begun.created
    assert noted.versioned.state.note == "more"
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))


async def test_creation_refused_for_another_reason_still_reports_an_existing_stream(
    new_store: NewStore,
) -> None:
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
    async with running_bus(new_store()) as bus:
        await become_lone_writer(bus)
        refused = bus.submit(message("a", Begin(after="nobody")))
        raised = bus.submit(message("a", Raise()))
        with pytest.raises(AlreadyExists):
            await refused
        assert (await raised).versioned.version == 2


async def test_lone_writer_creates_in_one_round_trip(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_bus(new_store()) as bus:
        await become_lone_writer(bus)
        monkeypatch.setattr(Transaction, "load", fail_on_call)
        monkeypatch.setattr(Store, "transaction", fail_on_call)
        begun = await bus.send(message("a", Begin()))
        noted = await bus.send(message("a", Note(note="first")))
    assert begun.created
    assert noted.versioned.state.note == "first"


def fail_on_call(*_: object) -> None:
    raise AssertionError("this takes another round trip")


class Calls:
    """A receiver that stores the arguments of its calls."""

    def __init__(self) -> None:
        self.received: list[object] = []

    def answer(self, answer: object) -> None:
        self.received.append(answer)

    def refuse(self, error: Exception) -> None:
        self.received.append(error)


async def test_receiver_of_the_last_batch_is_called_once_when_the_bus_stops(
    new_store: NewStore,
) -> None:
    begun, repeated = Calls(), Calls()
    once = IdempotencyKey("key", "fingerprint")
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin(), idempotency=once))
        bus.deliver(message("b", Begin()), begun)
        bus.deliver(message("a", Begin(), idempotency=once), repeated)
    assert [type(received) for received in begun.received] == [Answer]
    assert [type(received) for received in repeated.received] == [Answer]


async def test_bus_that_has_just_started_forgets_expired_replies(
    new_store: NewStore,
) -> None:
    once = IdempotencyKey("key", "fingerprint")
    async with running_bus(new_store(), clock=lambda: NOON) as bus:
        await bus.send(message("a", Begin(), idempotency=once))
    later = NOON + REPLY_RETENTION + timedelta(hours=1)
    async with running_bus(new_store(), clock=lambda: later) as bus:
        await bus.send(message("b", Begin()))
    store = new_store()
    await store.open()
    async with store.transaction() as transaction:
        assert await transaction.replies(["key"], NOON - timedelta(hours=1)) == {}
    await store.close()
