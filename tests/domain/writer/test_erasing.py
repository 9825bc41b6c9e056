"""An erasing event destroys the data key of its stream, in its commit and in every process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Erased, Overloaded, Overtaken
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.keys.destroyed import DestroyedKeys
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.sealing import Ciphertext
from domain.writer.command_bus import Bus
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Unless
from tests.support import sample_aggregate
from tests.support.memory_store import MemoryLog, MemoryStore
from tests.support.sample_aggregate import (
    Begin,
    Erase,
    Note,
    Raise,
    codec,
    keyring,
    message,
    running_bus,
)

NewStore = Callable[[], Store]

pytestmark = pytest.mark.anyio
STREAM = "tally/a"


async def write_note(bus: Bus, tally: str = "a") -> None:
    await bus.send(message(tally, Begin()))
    await bus.send(message(tally, Note(note="Sesame")))


async def test_erased_content_is_ciphertext_at_every_version_and_other_streams_stay_open(
    new_store: NewStore,
) -> None:
    store = new_store()
    async with running_bus(store) as bus:
        await write_note(bus)
        await write_note(bus, "b")
        held = (await store.keys([STREAM]))[STREAM]
        assert held is not None
        erased = await bus.send(message("a", Erase()))
        states = [erased.versioned, *[await store.load(STREAM, version) for version in (2, 3)]]
        other = await store.load("tally/b")
        after = await store.keys([STREAM, "tally/b"])
    assert all(isinstance(each.state.note, Ciphertext) for each in states if each is not None)
    assert other is not None
    assert other.state.note == "Sesame"
    assert held.destroyed
    assert after[STREAM] is None
    assert after["tally/b"] is not None


async def test_command_that_needs_the_key_is_refused_and_others_are_accepted(
    new_store: NewStore,
) -> None:
    async with running_bus(new_store()) as bus:
        await write_note(bus)
        sent = [
            bus.submit(message("a", command))
            for command in (Note(note="before"), Erase(), Note(note="after"), Raise())
        ]
        before, erased, refused, raised = await asyncio.gather(*sent, return_exceptions=True)
        later = await asyncio.gather(
            bus.send(message("a", Note(note="later"))),
            bus.send(message("a", Raise())),
            return_exceptions=True,
        )
    assert not isinstance(before, BaseException)
    assert before.versioned.state.note == "before"
    for answer in (erased, raised, later[1]):
        assert not isinstance(answer, BaseException)
        assert isinstance(answer.versioned.state.note, Ciphertext)
    assert isinstance(refused, Erased)
    assert isinstance(later[0], Erased)


async def test_stream_that_is_created_and_erased_in_one_batch_has_no_key(
    new_store: NewStore,
) -> None:
    store = new_store()
    async with running_bus(store) as bus:
        commands = (Begin(), Note(note="Sesame"), Erase())
        sent = [bus.submit(message("a", command)) for command in commands]
        await asyncio.gather(*sent)
        versioned = await store.load(STREAM)
        assert (await store.keys([STREAM]))[STREAM] is None
    assert versioned is not None
    assert isinstance(versioned.state.note, Ciphertext)


async def test_writer_of_another_process_drops_opened_content(
    new_store: NewStore,
) -> None:
    first, second = new_store(), new_store()
    async with running_bus(first) as mine, running_bus(second) as other:
        await write_note(mine)
        opened = await other.send(message("a", Raise()))
        await mine.send(message("a", Erase()))
        answer = await other.send(message("a", Raise()))
        with pytest.raises(Erased):
            await other.send(message("a", Note(note="again")))
    assert opened.versioned.state.note == "Sesame"
    assert isinstance(answer.versioned.state.note, Ciphertext)
    assert answer.versioned.state.total == 2


async def test_guarded_writer_erases_without_the_lock(database: str) -> None:
    store = sample_aggregate.store(database)
    async with running_bus(store) as bus:
        await write_note(bus)
        writer = GuardedWriter(store, sample_aggregate.clock, str, lambda: 0.5)
        answer = await writer.send(message("a", Erase()))
        assert (await store.keys([STREAM]))[STREAM] is None
        [raised] = await writer.send_all([message("a", Note(note="again"))])
    assert isinstance(answer.versioned.state.note, Ciphertext)
    assert isinstance(raised.refused, Erased)


async def test_message_with_an_overtaken_condition_is_not_decided(
    new_store: NewStore,
) -> None:
    store, unless = new_store(), Unless("tally.raised", 1)
    async with running_bus(store) as bus:
        await write_note(bus)
        erase = message("a", Erase())._replace(unless=unless)
        sent = [bus.submit(message("a", Raise())), bus.submit(erase)]
        raised, refused = await asyncio.gather(*sent, return_exceptions=True)
        with pytest.raises(Overtaken):
            await bus.send(erase)
        now = Unless("tally.raised", 3)
        erased = await bus.send(message("a", Erase())._replace(unless=now))
    assert not isinstance(raised, BaseException)
    assert isinstance(refused, Overtaken)
    assert erased.versioned.version == 4


async def test_condition_of_a_message_holds_beside_another_one_in_its_batch(
    new_store: NewStore,
) -> None:
    store = new_store()
    async with running_bus(store) as bus:
        await write_note(bus)
        await bus.send(message("a", Raise()))
        overtaken = message("a", Erase())._replace(unless=Unless("tally.raised", 1))
        later = message("b", Begin())._replace(unless=Unless("tally.raised", 3))
        sent = [bus.submit(overtaken), bus.submit(later)]
        refused, raised = await asyncio.gather(*sent, return_exceptions=True)
    assert isinstance(refused, Overtaken)
    assert not isinstance(raised, BaseException)


async def test_guarded_writer_writes_nothing_once_its_condition_is_overtaken(database: str) -> None:
    store = sample_aggregate.store(database)
    async with running_bus(store) as bus:
        await write_note(bus)
        await bus.send(message("a", Raise()))
        writer = GuardedWriter(store, sample_aggregate.clock, str, lambda: 0.5)
        erase = message("a", Erase())
        with pytest.raises(Overloaded):
            await writer.send(erase._replace(unless=Unless("tally.raised", 2)))
        held = (await store.keys([STREAM]))[STREAM]
        answer = await writer.send(erase._replace(unless=Unless("tally.raised", 3)))
    assert held is not None
    assert (answer.versioned.version, held.destroyed) == (4, True)


async def test_other_process_is_notified_of_a_destroyed_key(database: str) -> None:
    first, second = sample_aggregate.store(database), sample_aggregate.store(database)
    heard: list[str] = []
    second.keyring.on_destroyed.append(heard.extend)
    watch = DestroyedKeys(second, Listener(database, "executions"))
    async with running_bus(first) as bus, running_bus(second):
        await write_note(bus)
        held = (await second.keys([STREAM]))[STREAM]
        assert held is not None
        await watch.destroy_next()
        await bus.send(message("a", Erase()))
        before = held.destroyed
        await watch.destroy_next()
        assert (before, held.destroyed) == (False, True)
        assert (await second.keys([STREAM]))[STREAM] is None
        assert heard == [STREAM]
    with psycopg.connect(database, options=session_options("executions")) as connection:
        rows = connection.execute("SELECT wrapped, erased, swept FROM data_keys").fetchall()
    assert rows == [(b"", 3, False)]


async def test_key_that_was_read_before_the_first_look_is_destroyed_by_it(database: str) -> None:
    first, second = sample_aggregate.store(database), sample_aggregate.store(database)
    watch = DestroyedKeys(second, Listener(database, "executions"))
    async with running_bus(first) as bus, running_bus(second):
        await write_note(bus)
        held = (await second.keys([STREAM]))[STREAM]
        assert held is not None
        await bus.send(message("a", Erase()))
        await watch.destroy_next()
        assert held.destroyed


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["begin", "note", "raise", "erase"])), max_size=30
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.data())
def test_erased_note_is_never_read_in_whatever_batches_commands_come(
    steps: list[tuple[int, str]], data: st.DataObject
) -> None:
    commands = {"begin": Begin(), "note": Note(note="x"), "raise": Raise(), "erase": Erase()}
    cuts = sorted(data.draw(st.sets(st.integers(0, len(steps)))) | {0, len(steps)})

    async def run() -> None:
        log = MemoryLog()
        stores = [MemoryStore(log, codec(), keyring()) for _ in range(2)]
        gone: set[int] = set()
        async with running_bus(stores[0]) as one, running_bus(stores[1]) as two:
            for begin, end in pairwise(cuts):
                bus = one if begin % 2 else two
                batch = steps[begin:end]
                sent = [bus.submit(message(str(tally), commands[word])) for tally, word in batch]
                answers = await asyncio.gather(*sent, return_exceptions=True)
                for (tally, word), answer in zip(batch, answers, strict=True):
                    if isinstance(answer, BaseException):
                        continue
                    if word == "erase":
                        gone.add(tally)
                    if tally in gone:
                        assert answer.versioned.state.note != "x"
                        assert word != "note"
                for store, tally in ((store, tally) for store in stores for tally in gone):
                    versioned = await store.load(f"tally/{tally}")
                    assert versioned is not None
                    assert versioned.state.note != "x"

    asyncio.run(run())
