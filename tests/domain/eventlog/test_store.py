"""The contract of every store: that on PostgreSQL and that in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import pytest

from domain.errors import OutcomeUnknown
from domain.eventlog import store as store_module
from domain.eventlog.append import HeadMoved
from domain.eventlog.codec import EventRow
from domain.eventlog.idempotency import REPLY_RETENTION, Reply
from domain.eventlog.store import Store
from domain.model import Event, Recorded, Versioned
from tests.support import memory_store
from tests.support.sample_aggregate import NOON, Tally, TallyBegun, TallyNoted, TallyRaised
from tests.support.sample_aggregate import store as postgres_store

NewStore = Callable[[], Store]
Happened = tuple[str, int, Event]
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(new_store: NewStore) -> AsyncIterator[Store]:
    async with opened(new_store()) as store:
        yield store


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Store]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def rows(store: Store, after: int, *happened: Happened) -> list[EventRow]:
    """Events of one commit as rows, all with the same time: a second for each event of the log."""
    at = NOON + (after + len(happened)) * SECOND
    return [
        store.codec.encode(
            Recorded(stream, version, place, at, event, "tester"),
            store.keyring.get_or_create(stream) if event.sealed else None,
        )
        for place, (stream, version, event) in enumerate(happened, after + 1)
    ]


async def write(store: Store, *happened: Happened) -> list[EventRow]:
    """Append in one commit."""
    async with store.transaction() as transaction:
        written = rows(store, transaction.position, *happened)
        await transaction.append(written, [], written[-1].at)
    return written


async def two_tallies(store: Store) -> list[EventRow]:
    """`a` at positions 1, 3 and 4, `b` at 2."""
    begun = await write(store, ("tally/a", 1, TallyBegun()), ("tally/b", 1, TallyBegun()))
    second = await write(store, ("tally/a", 2, TallyRaised(amount=2)))
    third = await write(store, ("tally/a", 3, TallyRaised(amount=3)))
    return begun + second + third


async def test_empty_log_has_no_position_and_no_events(store: Store) -> None:
    assert (await store.head())[0] == 0
    assert await store.read(0, 10) == []
    assert await store.load("tally/a") is None
    assert await store.history("tally/a") == []


async def test_appended_events_are_read_in_order(store: Store) -> None:
    written = await two_tallies(store)
    assert await store.read(0, 10) == written
    assert [row.position for row in written] == [1, 2, 3, 4]
    assert await store.head() == (4, written[-1].at)


async def test_reading_begins_after_a_position_and_ends_at_the_limit(store: Store) -> None:
    written = await two_tallies(store)
    assert await store.read(1, 2) == written[1:3]
    assert await store.read(3, 10) == written[3:]
    assert await store.read(4, 10) == []


async def test_span_has_only_the_requested_types(store: Store) -> None:
    written = await two_tallies(store)
    async with store.reader() as connection:
        assert await store.span(connection, 1, 3) == written[1:3]
        assert await store.span(connection, 0, 4, ["tally.begun"]) == written[:2]
        assert await store.span(connection, 0, 4, []) == []


async def test_every_stream_is_in_one_share_of_a_span(store: Store) -> None:
    written = await two_tallies(store)
    async with store.reader() as connection:
        shares = [await store.span(connection, 0, 4, share=(5, number)) for number in range(5)]
        assert sorted(row for share in shares for row in share) == written
        streams = [{row.stream for row in share} for share in shares]
        assert sum(map(len, streams)) == len({row.stream for row in written})


async def test_history_of_a_stream_is_its_own_events_in_order(store: Store) -> None:
    written = await two_tallies(store)
    assert await store.history("tally/a") == [written[0], *written[2:]]
    assert await store.history("tally/a", after=1, until=2) == [written[2]]
    assert await store.history("tally/a", limit=1) == [written[0]]


async def test_times_are_mapped_to_versions_and_positions(store: Store) -> None:
    written = await two_tallies(store)
    third = written[2].at
    then = (await store.load_with_head("tally/a", third)).versioned
    assert then is not None
    assert then.version == 2
    assert (await store.load_with_head("tally/a", NOON)).versioned is None
    assert await store.position_before(third) == 2
    assert await store.position_before(NOON) == 0
    assert await store.position_before(third + timedelta(days=1)) == 4


async def test_page_of_the_log_ends_before_the_event_that_exceeds_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = await two_tallies(store)
    sizes = [len(row.data) for row in written]
    for module in (store_module, memory_store):
        monkeypatch.setattr(module, "READ_BYTES", sum(sizes[:3]))
    assert await store.read(0, 10) == written[:3]
    assert await store.read(3, 10) == written[3:]
    for module in (store_module, memory_store):
        monkeypatch.setattr(module, "READ_BYTES", 1)
    assert await store.read(0, 10) == written[:1]


async def test_state_is_the_fold_of_its_events_up_to_any_version(store: Store) -> None:
    await two_tallies(store)
    for version, total in ((1, 0), (2, 2), (3, 5)):
        versioned = await store.load("tally/a", version)
        assert versioned is not None
        assert (versioned.version, versioned.state.total) == (version, total)
    newest = await store.load("tally/a")
    size = sum(len(row.data) for row in await store.history("tally/a"))
    assert newest == Versioned(Tally("a", 5), 3, 4, NOON + 4 * SECOND, size)


async def test_locked_writer_sees_the_head_of_the_log(store: Store) -> None:
    await two_tallies(store)
    versioned = await store.load("tally/a", 2)
    async with store.transaction() as transaction:
        assert (transaction.position, transaction.at) == (4, NOON + 4 * SECOND)
        known = await transaction.load({"tally/a": versioned, "tally/b": None, "tally/c": None})
    assert {stream: versioned.version for stream, versioned in known.items()} == {
        "tally/a": 3,
        "tally/b": 1,
    }


async def test_snapshot_replaces_the_events_before_it(store: Store) -> None:
    await two_tallies(store)
    versioned = Versioned(Tally("a", 100), 2, 3, NOON)  # wrong on purpose
    async with store.transaction() as transaction:
        frozen = store.codec.take_snapshot(
            "tally/a", versioned, store.keyring.get_or_create("tally/a")
        )
        begun = rows(store, 4, ("tally/c", 1, TallyBegun()))
        await transaction.append(begun, [], NOON)
    await store.store_snapshots([frozen])
    totals = [(await store.load("tally/a", version)) for version in (1, 2, 3)]
    assert [versioned and versioned.state.total for versioned in totals] == [0, 100, 103]


async def test_optimistic_append_at_the_head_is_written(store: Store) -> None:
    *_, last = await two_tallies(store)
    async with store.transaction() as transaction:
        session = transaction.session
    async with store.attempt(session, last.position, last.at) as attempt:
        loaded = await attempt.load({"tally/b": None})
        assert [versioned.version for versioned in loaded.values()] == [1]
        raised = rows(store, 4, ("tally/b", 2, TallyRaised(amount=1)))
        await attempt.append(raised, [], raised[0].at)
    async with store.attempt(session, 5, raised[0].at) as attempt:
        noted = rows(store, 5, ("tally/b", 3, TallyNoted(note="with a key")))
        await attempt.append(noted, [], noted[0].at)
    async with store.attempt(session, 6, noted[0].at) as attempt:
        await attempt.confirm()
    assert await store.read(4, 10) == raised + noted
    assert await store.head() == (6, noted[0].at)
    versioned = await store.load("tally/b")
    assert versioned is not None
    assert versioned.state.note == "with a key"


async def append_optimistically(
    store: Store, session: int, after: EventRow, *happened: Happened
) -> None:
    async with store.attempt(session, after.position, after.at) as attempt:
        if happened:
            late = rows(store, after.position, *happened)
            await attempt.append(late, [], late[0].at)
        else:
            await attempt.confirm()


@pytest.mark.parametrize("event", [TallyRaised(amount=1), TallyNoted(note="with a key")])
async def test_attempt_at_another_position_than_the_head_leaves_nothing(
    new_store: NewStore, event: Event
) -> None:
    async with opened(new_store()) as one, opened(new_store()) as other:
        async with one.transaction() as transaction:
            session = transaction.session
        [*_, third, last] = written = await two_tallies(other)
        with pytest.raises(HeadMoved):
            await append_optimistically(one, session, third, ("tally/b", 2, event))
        with pytest.raises(HeadMoved):
            await append_optimistically(one, session, third)
        with pytest.raises(HeadMoved):
            await append_optimistically(one, session - 1, last)
        assert await one.read(0, 10) == written
        assert await one.keys(["tally/b"]) == {"tally/b": None}
        await append_optimistically(one, session, last)


async def test_transaction_without_an_append_leaves_nothing(store: Store) -> None:
    async with store.transaction() as transaction:
        await transaction.load({"tally/a": None})
    assert (await write(store, ("tally/a", 1, TallyBegun())))[0].position == 1


async def test_error_leaves_nothing_and_no_hole(store: Store) -> None:
    await two_tallies(store)
    with pytest.raises(ZeroDivisionError):
        async with store.transaction():
            raise ZeroDivisionError
    assert (await write(store, ("tally/c", 1, TallyBegun())))[0].position == 5


async def test_existing_version_is_refused_and_leaves_no_hole(store: Store) -> None:
    written = await two_tallies(store)
    new, taken = ("tally/c", 1, TallyBegun()), ("tally/a", 3, TallyRaised(amount=1))
    with pytest.raises(psycopg.errors.UniqueViolation):
        await write(store, new, taken)
    assert await store.read(0, 10) == written
    assert (await store.head())[0] == 4
    assert (await write(store, new))[0].position == 5


async def test_reply_is_stored_with_the_commit_until_it_expires(store: Store) -> None:
    reply, other = Reply("k", "body", "{}"), Reply("k", "body", '{"again":1}')
    later = NOON + REPLY_RETENTION
    async with store.transaction() as transaction:
        await transaction.append([], [reply], NOON)
    async with store.transaction() as transaction:
        assert await transaction.replies(["k", "l"], NOON - SECOND) == {"k": reply}
        assert await transaction.replies(["k"], NOON) == {}
        await transaction.append([], [other], later)
    await store.forget_replies(NOON)
    async with store.transaction() as transaction:
        assert await transaction.replies(["k"], NOON - SECOND) == {"k": other}
    await store.forget_replies(later)
    async with store.transaction() as transaction:
        assert await transaction.replies(["k"], NOON - SECOND) == {}


async def test_reply_is_not_overwritten_before_it_expires(store: Store) -> None:
    reply, other = Reply("k", "body", "{}"), Reply("k", "body", '{"again":1}')
    async with store.transaction() as transaction:
        await transaction.append([], [reply], NOON)
    with pytest.raises(HeadMoved):
        async with store.transaction() as transaction:
            await transaction.append([], [other], NOON + REPLY_RETENTION - SECOND)
    async with store.transaction() as transaction:
        assert await transaction.replies(["k"], NOON - SECOND) == {"k": reply}


async def test_reply_without_events_moves_neither_position_nor_time(store: Store) -> None:
    await two_tallies(store)
    before = await store.head()
    async with store.transaction() as transaction:
        await transaction.append([], [Reply("k", "body", "{}")], NOON + timedelta(days=1))
    assert await store.head() == before


async def test_sealed_content_is_opened_by_another_process(new_store: NewStore) -> None:
    async with opened(new_store()) as one, opened(new_store()) as other:
        begun, noted = ("tally/a", 1, TallyBegun()), ("tally/a", 2, TallyNoted(note="secret"))
        written = await write(one, begun, noted)
        assert b"secret" not in written[1].data
        versioned = await other.load("tally/a")
        assert versioned is not None
        assert versioned.state.note == "secret"
        keys = await other.keys(["tally/a", "tally/nobody"])
    assert [key is not None for key in keys.values()] == [stream == "tally/a" for stream in keys]


async def test_key_without_a_commit_is_not_stored(new_store: NewStore) -> None:
    async with opened(new_store()) as one, opened(new_store()) as other:
        async with one.transaction():
            rows(one, 0, ("tally/a", 1, TallyNoted(note="lost")))
        assert (await one.keys(["tally/a"])) == {"tally/a": None}
        await write(one, ("tally/a", 1, TallyBegun()), ("tally/a", 2, TallyNoted(note="kept")))
        versioned = await other.load("tally/a")
    assert versioned is not None
    assert versioned.state.note == "kept"


async def test_only_the_keys_of_stored_events_are_stored(new_store: NewStore) -> None:
    async with opened(new_store()) as one, opened(new_store()) as other:
        async with one.transaction() as transaction:
            one.keyring.get_or_create("tally/never-written")
            await transaction.append([], [Reply("k", "body", "{}")], NOON)
        assert await other.keys(["tally/never-written"]) == {"tally/never-written": None}


async def test_writers_take_turns_and_readers_see_a_dense_log(new_store: NewStore) -> None:
    async with opened(new_store()) as one, opened(new_store()) as other:

        async def writes(store: Store, stream: str) -> None:
            for version in range(1, 51):
                await write(store, (stream, version, TallyRaised(amount=1)))

        writing = asyncio.gather(writes(one, "tally/a"), writes(other, "tally/b"))
        seen: list[EventRow] = []
        while len(seen) < 100:
            seen += await one.read(len(seen), 7)
            assert [row.position for row in seen] == list(range(1, len(seen) + 1))
            await asyncio.sleep(0)
        await writing


async def test_second_writer_of_a_store_is_refused(database: str) -> None:
    opened = postgres_store(database)
    await opened.open()
    try:
        async with opened.transaction():
            with pytest.raises(RuntimeError, match="two writers"):
                async with opened.transaction():
                    pass
    finally:
        await opened.close()


async def test_write_that_runs_out_of_memory_has_an_unknown_outcome(database: str) -> None:
    async with opened(postgres_store(database)) as fresh:
        with pytest.raises(OutcomeUnknown, match="no memory"):
            async with fresh.transaction():
                raise MemoryError
        async with fresh.transaction() as transaction:
            assert transaction.position == 0
