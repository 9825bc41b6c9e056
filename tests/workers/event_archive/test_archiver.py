"""Old events move from the table to archive files, and every reader gets the same as before."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.errors import RestrictViolation

from domain.errors import Damaged
from domain.eventlog.access.parties import Parties, parties_of
from domain.eventlog.append import StreamMoved, WrongGuess
from domain.eventlog.archive import archived_queries, reader
from domain.eventlog.archive.blocks import blocks_of, open_block
from domain.eventlog.archive.files import ArchiveFiles
from domain.eventlog.codec import EventRow
from domain.execution.commands import RecordUsage
from domain.execution.commands.erase import EraseExecution
from domain.integrity.event_files import check_event_files
from domain.integrity.log import order_faults
from domain.model import aggregate_id
from domain.retention.hold import PlaceHold, ReleaseHold
from domain.sealing import Ciphertext
from domain.writer.guarded_writer import GuardedWriter
from projections.audit.leaf import HASH_BYTES
from projections.audit.tables import tiles_of_tree
from projections.audit.tiles import WIDTH
from projections.history.time_travel import History
from tests.support.log_readers import LogReaders, differences
from tests.support.past_events import EVENTS, LATER, PastEvents
from workers.event_archive import archiver as archiver_module
from workers.event_archive import range_file

pytestmark = pytest.mark.anyio


@pytest.fixture
async def past(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastEvents]:
    async with PastEvents.opened(database_with_views, tmp_path) as opened:
        yield opened


async def test_events_of_ended_executions_are_in_files_and_not_in_the_table(
    past: PastEvents,
) -> None:
    for number in range(3):
        await past.run(f"e-{number}", steps=number + 1)
    before = await past.rows()
    reports = await past.archive_events()
    assert [report.outcome for report in reports] == ["archived"] * 3
    assert await past.horizon() == 3 * EVENTS == len(before)
    files = ["events/1-8.events", "events/17-24.events", "events/9-16.events"]
    assert sorted(report.file for report in reports) == past.files() == files
    assert {row.type for row in await past.rows()} == {"events.archived"}
    assert await past.store.read(0, len(before)) == before


async def test_every_reader_gets_the_same_as_before(past: PastEvents) -> None:
    await past.run("e-0")
    await past.pause("e-1")
    await past.run("e-2", steps=3)
    await past.pause("e-3")
    await past.say("e-1", "a line")
    await past.grow()
    until = len(await past.rows())
    readers = LogReaders(past.store, past.connection, until)
    before = await readers.answers()
    assert len(await past.archive_events(events=5)) == until // 5
    assert len(await past.rows()) < until
    assert differences(before, await readers.answers()) == []


async def test_continued_execution_is_read_from_file_and_table_and_archived_again(
    past: PastEvents,
) -> None:
    await past.run("e-0")
    await past.run("e-1")
    await past.archive_events()
    await past.tick("execution/e-0", RecordUsage(tokens_used=7))
    await past.run("e-2", steps=4)
    await past.grow()
    until = len(await past.store.read(0, 1_000))
    readers = LogReaders(past.store, past.connection, until)
    before = await readers.answers()
    assert before["history execution/e-0"][-1].version == 9
    [report] = await past.archive_events()
    assert (report.outcome, report.taken) == ("archived", 1)
    assert "execution/e-0" not in {row.stream for row in await past.rows()}
    assert differences(before, await readers.answers()) == []


@pytest.mark.parametrize("version", [1, 5, 8])
async def test_archived_version_is_never_assigned_again(past: PastEvents, version: int) -> None:
    await past.run("e-0")
    await past.run("e-1")
    [stale] = await past.store.history("execution/e-0", version - 1, version)
    await past.archive_events()
    assert "execution/e-0" not in {row.stream for row in await past.rows()}
    head = await past.store.head()
    with pytest.raises(StreamMoved):
        await past.store.append([stale], past.now)
    assert await past.store.head() == head
    assert await past.store.append([stale._replace(version=9)], past.now) == head[0]


async def test_execution_with_archived_events_is_not_created_again(past: PastEvents) -> None:
    await past.run("e-0")
    await past.run("e-1")
    [first] = await past.store.history("execution/e-0", limit=1)
    await past.archive_events()
    assert "execution/e-0" not in {row.stream for row in await past.rows()}
    async with past.store.transaction() as transaction:
        session, position, at = transaction.session, transaction.position, transaction.at
        assert "execution/e-0" in await transaction.load({"execution/e-0": None})
    again = [first._replace(position=position + 1)]
    async with past.store.attempt(session, position, at) as attempt:
        with pytest.raises(WrongGuess):
            await attempt.append(again, [], past.now)
    assert await past.store.head() == (position, at)


async def test_append_that_waits_for_the_archiver_sees_that_the_events_were_moved(
    past: PastEvents,
) -> None:
    await past.run("e-0")
    await past.pause("e-1")
    [stale] = await past.store.history("execution/e-0", 4, 5)
    waiting: list[asyncio.Task[int]] = []

    async def hold_up(connection: AsyncConnection, position: int) -> tuple[bool, int]:
        waiting.append(asyncio.create_task(past.store.append([stale], past.now)))
        await asyncio.sleep(0.3)
        assert not waiting[0].done()
        return False, position

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archiver_module, "is_placed_since", hold_up)
        await past.archive_events()
    with pytest.raises(StreamMoved):
        await waiting[0]


async def test_events_stay_until_all_readers_have_passed_them(past: PastEvents) -> None:
    await past.run("e-0")
    await past.grow()
    await past.begin("e-1")
    for table, column, who in (
        ("bookmarks", "position", "the view"),
        ("webhook_head", "position", "what calls webhooks"),
        ("audit_head", "size", "the tree"),
    ):
        change = f"UPDATE {table} SET {column} = {column} + %s"  # noqa: S608 - our constants
        await past.query(change, -1)
        past.now += LATER
        [report] = await past.event_archiver().archive()
        assert report.outcome == "waiting"
        assert report.reason.startswith(who)
        await past.query(change, 1)
    assert await past.horizon() == 0
    assert past.files() == []


async def test_recent_events_stay(past: PastEvents) -> None:
    await past.run("e-0")
    await past.run("e-1")
    await past.grow()
    assert await past.event_archiver().archive() == []
    past.now += LATER
    never = replace(past.retention, event_days=None)
    assert await past.event_archiver(never).archive() == []
    [report] = await past.event_archiver().archive(dry_run=True)
    assert (report.outcome, report.taken) == ("due", EVENTS)
    assert await past.horizon() == 0


async def in_table(past: PastEvents) -> set[str]:
    """The executions that have events in the table."""
    streams = {row.stream for row in await past.rows()}
    return {stream for stream in streams if stream.startswith("execution/")}


@pytest.mark.parametrize("scope", [{"executions": ("e-1",)}, {"order": "o-1"}])
async def test_hold_keeps_its_execution_until_it_is_released(
    past: PastEvents, scope: dict[str, Any]
) -> None:
    await past.run("e-0")
    await past.begin("e-1", order="o-1")
    for _ in range(EVENTS - 1):
        await past.tick("execution/e-1", RecordUsage(tokens_used=1))
    before = await past.store.read(0, 2 * EVENTS)
    await past.place(PlaceHold(reason="claim", **scope), "h-1")
    [looked] = await past.archive_events(dry_run=True)
    first, second = await past.event_archiver().archive()
    assert [(each.outcome, each.taken, each.kept) for each in (looked, first, second)] == [
        ("due", EVENTS, 0),
        ("archived", EVENTS, 0),
        ("archived", 0, 1),
    ]
    assert second.reason == "kept by h-1 (executions: 1)"
    assert await in_table(past) == {"execution/e-1"}
    assert await past.all_events(before) == before
    await past.run("e-2", steps=6)
    assert (await past.archive_events())[-1].outcome == "archived"
    assert "execution/e-1" in await in_table(past)
    await past.send("hold/h-1", ReleaseHold(reason="settled"))
    await past.run("e-3", steps=4)
    last = (await past.archive_events())[-1]
    assert (last.outcome, last.kept, last.reason) == ("archived", 0, "")
    assert "execution/e-1" not in await in_table(past)
    assert await past.query("SELECT kept FROM event_archives WHERE kept <> '{}'") == []
    assert await past.all_events(before) == before


async def test_execution_continued_after_a_hold_is_archived_when_it_ends(
    past: PastEvents,
) -> None:
    await past.run("e-0")
    await past.place(PlaceHold(reason="claim", executions=("e-0",)), "h-1")
    await past.run("e-1", steps=3)
    await past.archive_events()
    assert "execution/e-0" in await in_table(past)
    await past.tick("execution/e-0", RecordUsage(tokens_used=7))
    await past.send("hold/h-1", ReleaseHold(reason="settled"))
    before = [row for row in await past.store.read(0, 100) if row.stream == "execution/e-0"]
    assert len(before) == EVENTS + 1
    await past.run("e-2", steps=4)
    await past.archive_events()
    assert "execution/e-0" not in await in_table(past)
    assert await past.store.history("execution/e-0") == before


async def test_hold_created_while_events_are_moved_keeps_them(past: PastEvents) -> None:
    await past.run("e-0")
    await past.run("e-1")

    async def place_hold(*_: object) -> tuple[bool, int]:
        return True, 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archiver_module, "is_placed_since", place_hold)
        [report] = await past.archive_events()
    assert (report.outcome, report.reason) == ("waiting", "a hold was placed meanwhile")
    assert await past.horizon() == 0
    assert len([row for row in await past.rows() if row.stream == "execution/e-0"]) == EVENTS


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (ArchiveFiles, "put"),
        (range_file, "_has"),
        (GuardedWriter, "send"),
        (archiver_module, "take_out"),
        (archiver_module, "is_placed_since"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_interrupted_archiver_continues(
    past: PastEvents, where: Any, what: str, late: bool
) -> None:
    await past.run("e-0")
    await past.run("e-1", steps=3)
    await past.grow()
    before = await past.store.read(0, 100)
    whole = getattr(where, what)

    def breaks(*given: Any, **named: Any) -> Any:
        found = whole(*given, **named) if late else None
        if not asyncio.iscoroutine(found):
            raise OSError("broken off")

        async def rest() -> None:
            await found
            raise OSError("broken off")

        return rest()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, what, breaks)
        broken = await past.archive_events()
    assert broken[-1].outcome == "failed"
    assert await past.all_events(before) == before
    done = await past.event_archiver().archive()
    assert {report.outcome for report in done} <= {"archived"}
    assert await past.horizon() == 2 * EVENTS
    assert await past.all_events(before) == before


@pytest.mark.parametrize("harm", ["missing", "damaged", "shorter"])
async def test_damaged_file_is_named_and_affects_no_other_read(past: PastEvents, harm: str) -> None:
    await past.run("e-0")
    await past.run("e-1")
    await past.archive_events()
    await past.run("e-2")
    path = past.folder / "archive" / "events/1-8.events"
    content = path.read_bytes()
    path.unlink()
    if harm != "missing":
        changed = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes(changed if harm == "damaged" else content[:-9])
    reader.BLOCK_CACHE.__init__()  # type: ignore[misc]  # as in another process
    for read in (
        past.store.history("execution/e-0"),
        past.store.load("execution/e-0"),
        past.store.read(0, 4),
        past.store.load_with_head("execution/e-0", 3),
    ):
        with pytest.raises(Damaged) as refused:
            await read
        assert refused.value.members["file"] == "events/1-8.events"
    assert len(await past.store.history("execution/e-1")) == EVENTS
    assert len(await past.store.read(8, 100)) > EVENTS
    assert (await past.store.load("execution/e-2")) is not None


async def test_events_stay_if_the_log_does_not_record_their_file(past: PastEvents) -> None:
    await past.run("e-0")
    await past.grow()
    call = """SELECT take_out_events(1, 8, 'events/1-8.events', 1, 'd', '', ARRAY['execution/e-0'],
        ARRAY[1::bigint], ARRAY[8::bigint], ARRAY[''::bytea], ARRAY['{}'], ARRAY[1::bigint])"""
    for statement in (call, "DELETE FROM events", "UPDATE events SET meta = ''"):
        with pytest.raises(RestrictViolation):
            await past.query(statement)
    assert len(await past.rows()) == EVENTS


async def test_erased_content_cannot_be_read_from_a_file(past: PastEvents) -> None:
    await past.run("e-0")
    await past.run("e-1")
    await past.archive_events()
    await past.send("execution/e-0", EraseExecution(reason="asked for"))
    erased, kept = [await past.store.load(f"execution/e-{number}") for number in (0, 1)]
    assert erased is not None
    assert kept is not None
    assert isinstance(erased.state.result, Ciphertext)
    assert kept.state.result.output == {"sent": 2}
    file = (past.folder / "archive" / "events/1-8.events").read_bytes()
    assert b"Sent." not in b"".join(
        open_block(file[b.start : b.start + b.length]) for b in blocks_of(await index(past))
    )


async def index(past: PastEvents) -> bytes:
    [[blocks]] = await past.query("SELECT blocks FROM event_archives WHERE first = 1")
    return bytes(blocks)


async def test_owner_of_an_archived_execution_is_known_without_reading_a_file(
    past: PastEvents,
) -> None:
    await past.run("e-0")
    await past.run("e-1")
    await past.archive_events()
    (past.folder / "archive").rename(past.folder / "elsewhere")
    assert await parties_of(past.store, "execution/e-0") == Parties("c", "p")
    assert await parties_of(past.store, "execution/none") is None


async def test_root_of_a_range_is_a_node_of_the_tree(past: PastEvents) -> None:
    for number in range(WIDTH // EVENTS + 1):
        await past.run(f"e-{number}")
    [report] = await past.archive_events(events=WIDTH)
    recorded = await past.store.load("range/1")
    assert recorded is not None
    above = (await tiles_of_tree(past.connection, [(1, 0)]))[1, 0]
    assert recorded.state.file.root == above[:HASH_BYTES].hex()
    assert (report.first, report.last) == (1, WIDTH)


@pytest.mark.parametrize("seed", range(3))
async def test_random_commands_and_archived_ranges_lose_nothing(
    past: PastEvents, seed: int
) -> None:
    chance, known, holds = random.Random(seed), list[EventRow](), list[str]()
    for number in range(12):
        for _ in range(chance.randrange(1, 4)):
            names = sorted({row.stream for row in known if row.stream.startswith("execution/")})
            if names and chance.random() < 0.5:
                await past.tick(chance.choice(names), RecordUsage(tokens_used=1))
            else:
                run = past.run if chance.random() < 0.6 else past.pause
                await run(f"e-{number}-{len(known)}")
                known = await past.store.read(0, 10_000)
        names = sorted({row.stream for row in known if row.stream.startswith("execution/")})
        if names and chance.random() < 0.5:
            held = aggregate_id(chance.choice(names))
            await past.place(PlaceHold(reason="claim", executions=(held,)), f"h-{number}")
            holds.append(f"hold/h-{number}")
        if holds and chance.random() < 0.4:
            await past.send(holds.pop(0), ReleaseHold(reason="settled"))
        known = await past.store.read(0, 10_000)
        if chance.random() < 0.6:
            reports = await past.archive_events(events=chance.randrange(1, 40))
            assert {report.outcome for report in reports} <= {"archived"}
            assert (await past.store.read(0, 10_000))[: len(known)] == known
        assert await past.all_events(known) == known
        places = [(row.stream, row.position) for row in chance.sample(known, min(9, len(known)))]
        found = await past.store.states.versions_at(past.connection, places)
        versions = {(row.stream, row.position): row.version for row in known}
        assert found == {place: versions[place] for place in places}
    assert await order_faults(past.store, 0, len(known), len(known) + 99) == []
    files = ArchiveFiles((past.folder / "archive").as_uri())
    assert [each.faults async for each in check_event_files(past.store, files) if each.faults] == []
    assert await past.horizon() > 0


async def test_page_of_an_archived_execution_reads_no_more_than_it_shows(
    past: PastEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.run("e-0", steps=20)
    await past.run("e-1", steps=2)
    await past.archive_events()
    read = list[int]()

    def count_call(rows: Any, positions: Sequence[int]) -> list[EventRow]:
        read.append(len(positions))
        return reader.read_events(rows, positions)

    monkeypatch.setattr(archived_queries, "read_events", count_call)
    history = History(past.store)
    for descending in (False, True):
        page = await history.events("execution/e-0", limit=5, descending=descending)
        assert len(page.envelopes) == 5
    assert len(await past.store.history("execution/e-0", 4, limit=3)) == 3
    assert read == [6, 6, 3]
