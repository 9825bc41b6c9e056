"""The guarded writer writes commands without the lock of the log, while others take it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Damaged, NotFound, OutcomeUnknown, Overloaded
from domain.eventlog.append import StreamMoved
from domain.eventlog.codec import EventRow
from domain.eventlog.connection.commit import CommitCheck, OutcomeLost
from domain.eventlog.keys.current import open_with_current_key
from domain.eventlog.store import Store
from domain.writer.command_bus import Bus
from domain.writer.dry_run import load_wanted
from domain.writer.guarded_writer import TRIES, GuardedWriter
from tests.support.sample_aggregate import (
    NOON,
    Begin,
    Mutter,
    Note,
    Raise,
    Stumble,
    TooMuch,
    clock,
    message,
    running_bus,
    store,
)

pytestmark = pytest.mark.anyio
CALLERS, RAISES = 8, 25


@pytest.fixture
async def bus(database: str) -> AsyncIterator[Bus]:
    async with running_bus(store(database)) as running:
        yield running


@pytest.fixture
async def log(database: str) -> AsyncIterator[Store]:
    async with open_with_current_key(store(database)) as log:
        yield log


@pytest.fixture
def writer(log: Store) -> GuardedWriter:
    return GuardedWriter(log, clock, str, lambda: 0.5)


async def test_answer_has_the_position_of_its_events(bus: Bus, writer: GuardedWriter) -> None:
    await bus.send(message("a", Begin()))
    answer = await writer.send(message("a", Raise(amount=3)))
    assert (answer.versioned.state.total, answer.versioned.version) == (3, 2)
    assert answer.versioned.position == 2
    assert (await bus.send(message("a", Raise()))).versioned.state.total == 4


async def test_time_of_a_commit_is_read_after_the_states(
    log: Store, writer: GuardedWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a state may be later than the command that is decided on it, which would be refused."""
    order: list[str] = []
    head, load = log.head, load_wanted

    async def note_head() -> Any:
        order.append("head")
        return await head()

    async def note_load(*given: Any) -> Any:
        order.append("states")
        return await load(*given)

    monkeypatch.setattr(log, "head", note_head)
    monkeypatch.setattr("domain.writer.guarded_writer.load_wanted", note_load)
    await writer.send(message("a", Begin()))
    assert order == ["states", "head"]


async def test_command_to_a_damaged_stream_is_refused_and_affects_no_other(
    bus: Bus, log: Store, writer: GuardedWriter
) -> None:
    await bus.send(message("a", Begin()))
    event = EventRow(2, 1, NOON, "tally/strange", "tally.from-the-future", '{"by":"x"}', b"{}")
    async with log.transaction() as transaction:
        await transaction.append([event], [], transaction.at)
    strange, good = await writer.send_all([message("strange", Raise()), message("a", Raise())])
    assert isinstance(strange.refused, Damaged)
    assert good.answer is not None
    assert good.answer.versioned.state.total == 1


async def test_refusal_and_bug_affect_no_other_command(bus: Bus, writer: GuardedWriter) -> None:
    for tally in ("a", "b", "c"):
        await bus.send(message(tally, Begin()))
    outcomes = await writer.send_all(
        [
            message("a", Raise(amount=9, limit=1)),
            message("b", Raise(amount=2)),
            message("absent", Raise()),
            message("c", Stumble()),
            message("b", Raise(amount=2)),
        ]
    )
    refused = [type(outcome.refused) for outcome in outcomes]
    assert refused == [TooMuch, type(None), NotFound, ZeroDivisionError, type(None)]
    assert [o.answer.versioned.state.total for o in outcomes if o.answer] == [2, 4]
    assert [o.answer.versioned.position for o in outcomes if o.answer] == [4, 5]


async def test_command_without_effect_writes_nothing(bus: Bus, writer: GuardedWriter) -> None:
    begun = await bus.send(message("a", Begin()))
    answer = await writer.send(message("a", Raise(amount=0)))
    assert answer.versioned.position == begun.versioned.position


async def test_command_that_writes_a_log_line_is_refused_with_all_others_of_its_batch(
    bus: Bus, writer: GuardedWriter, log: Store
) -> None:
    await bus.send(message("a", Begin()))
    await bus.send(message("a", Note(note="its stream has a key now")))
    with pytest.raises(ValueError, match="only the bus"):
        await writer.send_all([message("a", Raise()), message("a", Mutter())])
    position, _ = await log.head()
    assert position == 2


async def test_no_raise_is_lost_or_doubled_beside_a_bus_on_the_same_streams(
    bus: Bus, writer: GuardedWriter, log: Store
) -> None:
    for tally in ("a", "b"):
        await bus.send(message(tally, Begin()))

    async def with_bus(caller: int) -> int:
        for _ in range(RAISES):
            await bus.send(message("ab"[caller % 2], Raise()))
        return RAISES

    async def without_lock(caller: int) -> int:
        done = 0
        for _ in range(RAISES):
            try:
                await writer.send(message("ab"[caller % 2], Raise()))
            except Overloaded:
                continue
            done += 1
            await asyncio.sleep(0.002)
        return done

    sent = await asyncio.gather(
        *(with_bus(n) for n in range(2)), *(without_lock(n) for n in (0, 1))
    )
    found = [await log.load(f"tally/{tally}") for tally in ("a", "b")]
    assert sum(each.state.total for each in found if each) == sum(sent)
    rows = await log.read(0, 10_000)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    assert [row.at for row in rows] == sorted(row.at for row in rows)


async def test_time_of_an_event_is_never_before_that_of_the_last_one(bus: Bus, log: Store) -> None:
    begun = await bus.send(message("a", Begin()))
    slow = GuardedWriter(log, lambda: clock() - timedelta(hours=1), str, lambda: 0.5)
    await slow.send(message("a", Raise()))
    rows = await log.read(0, 10)
    assert rows[1].at >= rows[0].at == begun.versioned.at


async def test_two_writers_that_make_the_key_of_a_stream_at_once_agree_on_one(
    bus: Bus, writer: GuardedWriter, database: str
) -> None:
    await bus.send(message("a", Begin()))
    other = store(database)
    await other.open()
    second = GuardedWriter(other, clock, str, lambda: 0.5)
    notes = [message("a", Note(note=f"note {n}")) for n in range(2)]
    await asyncio.gather(writer.send(notes[0]), second.send(notes[1]))
    found = await store_read(other)
    await other.close()
    assert found in {"note 0", "note 1"}


async def store_read(log: Store) -> str:
    versioned = await log.load("tally/a")
    assert versioned is not None
    assert versioned.version == 3
    note: str = versioned.state.note
    return note


async def send_with_failing_append(
    log: Store, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> tuple[int, Exception]:
    """The number of attempts of a command whose append fails, and its final refusal."""
    tried: list[object] = []

    async def fail(*given: object) -> int:
        tried.append(given)
        raise failure

    monkeypatch.setattr(log, "append", fail)
    writer = GuardedWriter(log, clock, str, lambda: 0.5)
    with pytest.raises((Overloaded, OutcomeUnknown)) as refused:
        await writer.send(message("a", Raise()))
    return len(tried), refused.value


async def test_command_with_a_conflict_at_each_attempt_is_refused(
    bus: Bus, log: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bus.send(message("a", Begin()))
    tried, refused = await send_with_failing_append(log, monkeypatch, StreamMoved())
    assert (tried, type(refused)) == (TRIES, Overloaded)


async def test_commit_whose_connection_breaks_is_not_retried(
    bus: Bus, log: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bus.send(message("a", Begin()))
    lost = OutcomeLost(CommitCheck("SELECT", ()))
    tried, refused = await send_with_failing_append(log, monkeypatch, lost)
    assert (tried, type(refused)) == (1, OutcomeUnknown)


async def test_append_that_failed_under_the_lock_leaves_the_connection_ready_for_the_next(
    bus: Bus, log: Store
) -> None:
    await bus.send(message("a", Begin()))
    taken = EventRow(2, 1, NOON, "tally/a", "tally.begun", '{"by":"x"}', b"{}")
    for _ in range(2):
        with pytest.raises(StreamMoved):
            await log.append([taken], NOON, {"tally.erased": 1})
