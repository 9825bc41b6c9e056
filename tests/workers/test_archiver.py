"""Log lines of past days move from the table to files; each line is in one of both, and a hold keeps its day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from domain.errors import ArchiveAway, Damaged
from domain.eventlog.archive.files import ArchiveFailed, ArchiveFiles
from domain.retention.hold import PlaceHold, ReleaseHold
from projections.log_lines.archive import days, export, parquet
from projections.log_lines.archive.reader import ArchivedLines
from projections.log_lines.archive.verify import check_archive
from projections.log_lines.reader import LogLinePages
from tests.support.past_lines import DAY, PastLines
from workers import archiver as archiver_module
from workers import day_retention
from workers.archiver import Archiver

pytestmark = pytest.mark.anyio


@pytest.fixture
async def past(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastLines]:
    async with PastLines.opened(database_with_views, tmp_path) as opened:
        yield opened


async def read(past: PastLines, execution: str) -> list[str]:
    """The messages of an execution, archived ones included, page by page."""
    pages = LogLinePages(past.store, ArchivedLines(past.retention.url, past.folder / "cache"))
    messages: list[str] = []
    cursor = None
    while True:
        page = await pages.read(execution, limit=2, cursor=cursor, archived=True)
        messages += [line["message"] for line in page.data]
        if (cursor := page.next_cursor) is None:
            return messages


async def recorded_files(past: PastLines, day: str) -> list[Any]:
    return [orjson.loads(row.data)["file"] for row in await past.store.history(f"archive/{day}")]


PARTITIONS = """SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'log_lines'::regclass"""
FIRST_FILE = "log-lines/2026-10-01/1-3.parquet"


async def three_lines(past: PastLines, partitions: int = 3) -> None:
    """Of the first day."""
    await past.make_days(partitions)
    await past.begin("e-1", "e-2")
    await past.say("e-1", "first", "second")
    await past.say("e-2", "third", step="a")


async def test_lines_of_a_past_day_are_in_a_file_and_its_partition_is_dropped(
    past: PastLines,
) -> None:
    await three_lines(past)
    past.now += DAY
    await past.say("e-1", "of the next day")
    done, next_day, *empty = await past.archive()
    assert (done.outcome, done.lines, done.files) == ("archived", 3, [FIRST_FILE])
    assert (next_day.outcome, next_day.lines) == ("archived", 1)
    assert all((day.outcome, day.lines, day.files) == ("archived", 0, []) for day in empty)
    assert past.files() == [*done.files, *next_day.files]
    assert await recorded_files(past, "2026-10-01") == done.files
    assert await past.query("SELECT count(*) FROM log_lines") == [(0,)]
    assert await past.query("SELECT to_regclass('log_lines_20261001')") == [(None,)]
    counts = await past.query(
        "SELECT execution, sum(lines)::int FROM log_archive_lines GROUP BY 1 ORDER BY 1"
    )
    assert counts == [("e-1", 3), ("e-2", 1)]
    assert await read(past, "e-1") == ["first", "second", "of the next day"]
    assert await read(past, "e-2") == ["third"]


async def test_recent_days_stay(past: PastLines) -> None:
    await three_lines(past)
    assert await past.archive(30) == []
    [done] = await past.archive(1)
    assert done.lines == 3


async def test_lines_in_the_default_partition_are_archived_by_day(past: PastLines) -> None:
    await three_lines(past, partitions=0)
    past.now += 2 * DAY
    await past.say("e-1", "of another day")
    past.now += 20 * DAY
    await past.say("e-1", "that stays")
    assert [day.lines for day in await past.archive(15)] == [3, 1]
    assert await past.query("SELECT count(*) FROM log_lines_rest") == [(1,)]
    assert await read(past, "e-1") == ["first", "second", "of another day", "that stays"]


async def test_content_stays_sealed_in_the_file(past: PastLines) -> None:
    await past.begin("e-1")
    await past.say("e-1", "s3cret", context={"key": "s3cret"})
    await past.archive()
    [file] = past.files()
    assert b"s3cret" not in (past.folder / "archive" / file).read_bytes()
    assert await read(past, "e-1") == ["s3cret"]


@pytest.mark.parametrize(
    "scope", [{"executions": ("e-2",)}, {"order": "o-2"}, {"service": "s"}, {"customer": "c-2"}]
)
async def test_hold_keeps_the_days_of_its_executions_until_it_is_released(
    past: PastLines, scope: dict[str, Any]
) -> None:
    await past.make_days(3)
    await past.begin("e-1")
    await past.say("e-1", "first")
    past.now += DAY
    await past.begin("e-2", order="o-2", service="s", customer="c-2")
    await past.say("e-2", "second")
    hold = PlaceHold(reason="Audit", **scope)
    await past.place(hold, "h-1")
    both = scope == {"service": "s"}
    reports = await past.archive(counts=False)
    assert [day.lines for day in reports if day.outcome == "on hold"] == [0] * (1 + both)
    found = {str(day.day)[-2:]: (day.outcome, day.holds) for day in reports}
    assert found["02"] == ("on hold", {"h-1": 1})
    assert found["01"] == (("on hold", {"h-1": 1}) if both else ("archived", {}))
    await past.send("hold/h-1", ReleaseHold(reason="It is over"))
    assert {day.outcome for day in await past.archive(0)} == {"archived"}
    assert await past.query("SELECT count(*) FROM log_lines") == [(0,)]


async def test_hold_created_while_a_day_is_archived_keeps_it(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three_lines(past)
    keep = days.store_files

    async def slowly(*what: Any) -> None:
        await keep(*what)
        await past.place(PlaceHold(reason="Audit", executions=("e-2",)), "h-1")

    monkeypatch.setattr(days, "store_files", slowly)
    waiting = (await past.archive())[0]
    assert waiting.outcome == "waiting"
    monkeypatch.undo()
    assert (await past.archive(0))[0].outcome == "on hold"
    assert await past.query("SELECT count(*) FROM log_lines") == [(3,)]
    assert await past.query("SELECT count(*) FROM log_archives") == [(0,)]
    assert await read(past, "e-1") == ["first", "second"]


async def test_day_stays_until_the_views_have_all_holds(past: PastLines) -> None:
    await three_lines(past)
    past.now += 40 * DAY
    [waiting] = [day for day in await past.archiver().archive() if day.lines]
    assert (waiting.outcome, waiting.reason) == (
        "waiting",
        "the views that say what is held are behind the log",
    )
    assert past.files() == []


class Crash(BaseException):
    pass


def crash(*_: Any, **__: Any) -> Any:
    raise Crash


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (parquet, "new_file"),
        (export, "digest_of"),
        (archiver_module, "ArchiveLogs"),
        (days, "store_files"),
        (days, "drop"),
        (day_retention, "is_placed_since"),
        (day_retention, "lock_log"),
    ],
)
async def test_interrupted_archiver_continues(
    past: PastLines, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    await three_lines(past)
    with monkeypatch.context() as patched:
        patched.setattr(where, name, crash)
        with pytest.raises(Crash):
            await past.archive()
    assert await read(past, "e-1") == ["first", "second"]
    done = (await past.archive(0))[0]
    assert (done.outcome, done.files) == ("archived", [FIRST_FILE])
    assert past.files() == [FIRST_FILE]
    assert await recorded_files(past, "2026-10-01") == [FIRST_FILE]
    assert await past.query("SELECT count(*) FROM log_lines") == [(0,)]
    assert await read(past, "e-1") == ["first", "second"]
    assert list((past.folder / "work").glob("*")) == []


async def test_file_of_another_log_is_not_overwritten(past: PastLines) -> None:
    await three_lines(past)
    other = past.folder / "archive" / FIRST_FILE
    other.parent.mkdir(parents=True)
    other.write_bytes(b"of another")
    done = (await past.archive())[0]
    assert done.files == ["log-lines/2026-10-01/1-3-2.parquet"]
    assert other.read_bytes() == b"of another"
    assert await read(past, "e-1") == ["first", "second"]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"PAR1 spoilt")])
async def test_file_that_was_damaged_before_its_lines_were_dropped_is_written_anew(
    past: PastLines, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object]
) -> None:
    await three_lines(past)
    with monkeypatch.context() as patched:
        patched.setattr(days, "drop", crash)
        with pytest.raises(Crash):
            await past.archive()
    spoil(past.folder / "archive" / FIRST_FILE)
    done = (await past.archive(0))[0]
    assert done.outcome == "archived"
    assert await recorded_files(past, "2026-10-01") in ([FIRST_FILE], [FIRST_FILE, *done.files])
    assert await read(past, "e-1") == ["first", "second"]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"PAR1 spoilt")])
async def test_missing_or_damaged_file_is_named_and_affects_no_other_read(
    past: PastLines, spoil: Callable[[Path], object]
) -> None:
    await three_lines(past)
    past.now += DAY
    await past.say("e-1", "of another file")
    await past.archive()
    await past.say("e-1", "in the table")
    spoil(past.folder / "archive" / FIRST_FILE)
    with pytest.raises(Damaged) as refused:
        await read(past, "e-1")
    assert refused.value.members == {"file": FIRST_FILE}
    pages = LogLinePages(past.store)
    assert [line["message"] for line in (await pages.read("e-1")).data] == ["in the table"]
    assert (await pages.latest("e-1"))[1] == 4


async def test_late_line_of_an_archived_day_is_in_a_file_of_its_own(past: PastLines) -> None:
    """Written by a server whose clock was set back, when the day had been archived."""
    await three_lines(past)
    begin = past.now
    await past.archive()
    later, past.now = past.now, begin
    await past.query("UPDATE head SET at = %s", begin)
    await past.say("e-1", "late")
    past.now = later
    assert await read(past, "e-1") == ["first", "second", "late"]
    [late] = [day for day in await past.archive(0) if day.lines]
    assert (str(late.day), late.files) == ("2026-10-01", ["log-lines/2026-10-01/4-4.parquet"])
    assert await read(past, "e-1") == ["first", "second", "late"]


async def test_line_written_while_its_day_is_archived_is_not_lost(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three_lines(past)
    keep = days.store_files

    async def slowly(*what: Any) -> None:
        late = """INSERT INTO log_lines SELECT execution, occurred_at, 4, at, level, step, sealed
            FROM log_lines WHERE id = 1 AND NOT EXISTS (SELECT FROM log_lines WHERE id = 4)"""
        await past.query(late)
        await keep(*what)

    monkeypatch.setattr(days, "store_files", slowly)
    assert (await past.archive())[0].outcome == "waiting"
    done = (await past.archive(0))[0]
    assert done.files == [FIRST_FILE, "log-lines/2026-10-01/4-4.parquet"]
    assert await read(past, "e-1") == ["first", "second", "first"]


async def test_large_day_is_in_several_files(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.begin("e-1")
    texts = [f"line {number}" for number in range(20)]
    await past.say("e-1", *texts)
    monkeypatch.setattr(export, "LARGEST", 1_000)
    [done] = [day for day in await past.archive() if day.lines]
    assert len(done.files) > 2
    assert sum(lines for (lines,) in await past.query("SELECT lines FROM log_archives")) == 20
    assert await read(past, "e-1") == texts
    assert not past.retention.work.exists()


async def test_large_day_of_which_a_file_cannot_be_put_is_archived_by_the_next_run(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.begin("e-1")
    texts = [f"line {number}" for number in range(20)]
    await past.say("e-1", *texts)
    monkeypatch.setattr(export, "LARGEST", 1_000)
    put, tried = ArchiveFiles.put, list[str]()

    def fail_once(files: ArchiveFiles, file: str, content: bytes) -> bool:
        tried.append(file)
        if len(tried) == 2:
            raise ArchiveFailed("cannot be written")
        return put(files, file, content)

    monkeypatch.setattr(ArchiveFiles, "put", fail_once)
    assert "failed" in {day.outcome for day in await past.archive()}
    assert not past.retention.work.exists()
    assert await past.query("SELECT count(*) FROM log_lines") == [(20,)]
    assert {day.outcome for day in await past.archive(0)} == {"archived"}
    assert await read(past, "e-1") == texts
    assert len(tried) == len(set(tried)) + 1


@pytest.mark.parametrize("step", ["put", "new_file"])
async def test_full_disk_leaves_the_lines_in_the_table(
    past: PastLines, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await three_lines(past)

    def fail_with_full_disk(*_: Any) -> None:
        raise (
            OSError(28, "No space left on device")
            if step == "new_file"
            else ArchiveFailed("cannot be written: No space left on device")
        )

    with monkeypatch.context() as patched:
        where: Any = parquet if step == "new_file" else ArchiveFiles
        patched.setattr(where, step, fail_with_full_disk)
        failed, *others = await past.archive()
    assert failed.outcome == "failed"
    assert "No space left" in failed.reason
    assert not past.retention.work.exists()
    assert {day.outcome for day in others} == {"archived"}
    assert await past.query("SELECT count(*) FROM log_lines") == [(3,)]
    assert (await past.archive(0))[0].outcome == "archived"


def other_location(past: PastLines) -> Archiver:
    return past.archiver(replace(past.retention, url=(past.folder / "other").as_uri()))


LOCATION = "SELECT url FROM log_archive_place"


@pytest.mark.parametrize("dry_run", [False, True])
async def test_archive_at_another_location_is_refused_before_anything_is_dropped(
    past: PastLines, *, dry_run: bool
) -> None:
    await past.archive(0)
    await three_lines(past)
    await past.follow()
    past.now += 40 * DAY
    with pytest.raises(ArchiveFailed, match="EXECUTIONS_ARCHIVE_URL must be the server's"):
        await other_location(past).archive(dry_run=dry_run)
    assert await past.query("SELECT count(*) FROM log_lines") == [(3,)]
    assert not (past.folder / "other").exists()
    assert await past.query(LOCATION) == [(past.retention.url,)]


@pytest.mark.parametrize("settled", [False, True])
async def test_archive_location_may_change_once_its_files_are_at_the_new_one(
    past: PastLines, *, settled: bool
) -> None:
    """A log of an earlier version has files, and no recorded location."""
    await three_lines(past)
    await past.archive()
    if not settled:
        await past.query("DELETE FROM log_archive_place")
    with pytest.raises(ArchiveFailed, match="the files must be copied there first"):
        await other_location(past).archive(moves=True)
    (past.folder / "archive").rename(past.folder / "other")
    await other_location(past).archive(moves=True)
    assert await past.query(LOCATION) == [((past.folder / "other").as_uri(),)]
    with pytest.raises(ArchiveFailed):
        await past.archive(0)


async def test_dry_run_records_no_location(past: PastLines) -> None:
    await past.archive(dry_run=True)
    assert await past.query(LOCATION) == []


async def test_archive_whose_folder_is_missing_is_reported_as_unreachable(past: PastLines) -> None:
    await three_lines(past)
    await past.archive()
    (past.folder / "archive").rename(past.folder / "away")
    with capture_logs() as logged, pytest.raises(ArchiveAway):
        await read(past, "e-1")
    assert [(entry["event"], entry["reason"]) for entry in logged] == [
        ("the archive of log lines is unavailable", f"there is no folder {past.folder / 'archive'}")
    ]
    found = [each async for each in check_archive(past.store, ArchiveFiles(past.retention.url))]
    assert [(each.faults, each.reached) for each in found] == [([], False)]


async def test_dry_run_reports_the_days_and_changes_nothing(past: PastLines) -> None:
    await three_lines(past, partitions=2)
    past.now += DAY
    await past.begin("e-3")
    await past.say("e-3", "kept")
    await past.place(PlaceHold(reason="Audit", executions=("e-3",)), "h-1")
    found = [(day.outcome, day.lines, day.holds) for day in await past.archive(dry_run=True)]
    assert found == [("due", 3, {}), ("on hold", 1, {"h-1": 1})]
    assert past.files() == []
    assert await past.query("SELECT count(*) FROM log_lines") == [(4,)]


async def test_two_archivers_archive_each_line_once(past: PastLines) -> None:
    await three_lines(past)
    await past.follow()
    past.now += 40 * DAY
    reports = await asyncio.gather(*(past.archiver().archive() for _ in range(2)))
    assert sorted(sum(day.lines for day in report) for report in reports) == [0, 3]
    assert past.files() == [FIRST_FILE]


async def test_unreachable_archive_fails_only_its_day(past: PastLines) -> None:
    await three_lines(past)
    (past.folder / "file").write_bytes(b"")
    nowhere = replace(past.retention, url=(past.folder / "file" / "below").as_uri())
    await past.follow()
    past.now += 40 * DAY
    reports = await past.archiver(nowhere).archive()
    assert {day.outcome for day in reports if day.lines} == {"failed"}
    assert await past.query("SELECT count(*) FROM log_lines") == [(3,)]


async def test_day_stays_while_other_transactions_use_the_table_and_writers_continue(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three_lines(past)
    monkeypatch.setattr(day_retention, "MOST_ATTEMPTS", 3)
    monkeypatch.setattr(day_retention, "LONGEST_PAUSE", 0.01)
    await past.follow()
    past.now += 40 * DAY
    async with past.connection.transaction():  # such as a backup
        await past.query("SELECT id FROM log_lines LIMIT 1")
        archiving = asyncio.create_task(past.archiver().archive())
        while not archiving.done():
            await past.say("e-1", "meanwhile")
            await past.query("SELECT 1")  # an idle transaction is terminated after some seconds
        waiting = (await archiving)[0]
    assert (waiting.outcome, waiting.reason) == (
        "waiting",
        "others were using the table or the log",
    )
    assert (await past.archive(0))[0].outcome == "archived"


async def test_default_partition_is_dropped_once_it_is_empty(past: PastLines) -> None:
    await past.query("ALTER TABLE log_lines DETACH PARTITION log_lines_rest")
    for day in await past.query(PARTITIONS):
        await past.query(f"DROP TABLE {day[0]}")
    await past.query("CREATE TABLE log_lines_before (LIKE log_lines_rest INCLUDING INDEXES)")
    await past.query(
        "ALTER TABLE log_lines ATTACH PARTITION log_lines_before FOR VALUES FROM (MINVALUE) TO ('2026-10-03')"
    )
    await past.query("ALTER TABLE log_lines ATTACH PARTITION log_lines_rest DEFAULT")
    await three_lines(past, partitions=5)
    past.now += DAY
    await past.say("e-1", "of another day")
    assert [day.lines for day in await past.archive() if day.lines] == [3, 1]
    assert ("log_lines_before",) in await past.query(PARTITIONS)
    await past.archive(0)
    assert ("log_lines_before",) not in await past.query(PARTITIONS)
    assert await read(past, "e-1") == ["first", "second", "of another day"]
