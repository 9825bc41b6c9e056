"""Lines in the table and lines in archive files are read in one order, with the same pages and filters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from domain.errors import Damaged, Overloaded
from domain.eventlog.archive import files
from domain.eventlog.archive.files import ArchiveFiles
from domain.execution.commands.log import AppendLogLines, LogLine
from domain.execution.types import LogLevel
from projections.log_lines import reader
from projections.log_lines.archive import parquet
from projections.log_lines.archive import reader as archive_reader
from projections.log_lines.archive.reader import ArchivedLines
from projections.log_lines.model import LogFilter
from projections.log_lines.reader import LogLinePages
from tests.support.past_lines import DAY, NOON, PastLines

pytestmark = pytest.mark.anyio
LEVELS: tuple[LogLevel, ...] = ("debug", "info", "warn", "error")


@pytest.fixture
async def past(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastLines]:
    """Lines of `e-1` on three days, each at any hour; the first two days are archived."""
    async with PastLines.opened(database_with_views, tmp_path) as opened:
        await opened.make_days(50)
        await opened.begin("e-1", "e-2")
        for day, days_later in enumerate((0, 1, 44)):
            opened.now = NOON + days_later * DAY
            for number in range(12):
                hours = (number * 7 + day * 5) % 60
                line = LogLine(
                    level=LEVELS[number % 4],
                    message=f"Line {day}.{number}",
                    step="a" if number % 3 else None,
                    timestamp=opened.now - timedelta(hours=hours),
                )
                for execution in ("e-1", "e-2"):
                    await opened.send(f"execution/{execution}", AppendLogLines(lines=(line,)))
        yield opened


def read_pages(past: PastLines) -> LogLinePages:
    return LogLinePages(past.store, ArchivedLines(past.retention.url, past.folder / "cache"))


async def read(pages: LogLinePages, only: LogFilter, **how: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await pages.read("e-1", only, cursor=cursor, archived=True, **how)
        assert len(page.data) <= how.get("limit", 50)
        found += page.data
        if (cursor := page.next_cursor) is None:
            return found


FILTERS = [
    LogFilter(),
    LogFilter(level=["warn", "error"]),
    LogFilter(step="a"),
    LogFilter(since=NOON - 30 * timedelta(hours=1), until=NOON + 10 * timedelta(hours=1)),
    LogFilter(text="LINE 1."),
    LogFilter(text="no such"),
]


@pytest.mark.parametrize("descending", [False, True])
async def test_pages_after_archiving_equal_those_before(
    past: PastLines, *, descending: bool
) -> None:
    pages = read_pages(past)
    before = [await read(pages, only, descending=descending) for only in FILTERS]
    assert [len(lines) for lines in before][:2] == [36, 18]
    assert len(before[4]) == 12
    assert [day.outcome for day in await past.archive(0) if day.lines] == ["archived"] * 2
    for limit in (5, 50):
        after = [await read(pages, only, descending=descending, limit=limit) for only in FILTERS]
        assert after == before


async def test_count_of_all_lines_includes_archived_ones_and_that_of_the_latest_does_not(
    past: PastLines,
) -> None:
    pages = read_pages(past)
    whole, total = await pages.latest("e-1")
    await past.archive(0)
    latest, after = await pages.latest("e-1")
    assert (len(whole), total, len(latest), after) == (36, 36, 12, 36)
    assert (await pages.latest("e-1", 5))[1] == 36
    past.now += 40 * DAY
    await past.archive(0)
    assert (await pages.latest("e-1")) == ([], 36)


async def test_search_decrypts_a_limited_number_of_lines_and_continues_at_its_cursor(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "SEARCHED", 10)
    monkeypatch.setattr(reader, "SEARCHED_AT_ONCE", 5)
    page = await read_pages(past).read("e-1", LogFilter(text="no such"), limit=5)
    assert page.data == []
    assert page.next_cursor is not None
    assert await read(read_pages(past), LogFilter(text="no such"), limit=5) == []
    found = await read(read_pages(past), LogFilter(text="line 2."), limit=5)
    assert len(found) == 12


async def test_digest_of_a_file_is_checked_once(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.archive(0)
    pages = read_pages(past)
    before = await read(pages, LogFilter())
    with monkeypatch.context() as patched:
        patched.setattr(ArchiveFiles, "fetch", None)  # would be called
        assert await read(pages, LogFilter()) == before
    for file in past.files():
        (past.folder / "archive" / file).write_bytes(b"PAR1")
    with pytest.raises(Damaged):
        await read(pages, LogFilter())


class Begun:
    """Counts the starts of DuckDB, and stores what each of them reads."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.read: list[str] = []
        patch.setattr(archive_reader, "lines_in", self.lines_in)
        patch.setattr(archive_reader, "duckdb_in", self.duckdb_in)

    def lines_in(self, connection: Any, file: str, *values: Any, **named: Any) -> Any:
        self.read.append(file)
        return parquet.lines_in(connection, file, *values, **named)

    def duckdb_in(self, *values: Any) -> Any:
        self.count += 1
        return parquet.duckdb_in(*values)


async def test_page_of_several_files_starts_duckdb_once(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.archive(0)
    begun = Begun(monkeypatch)
    assert len(await read(read_pages(past), LogFilter())) == 36
    assert (begun.count, len(begun.read)) == (1, 2)


async def test_files_are_not_read_once_the_request_for_the_page_is_cancelled(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.archive(0)
    begun = Begun(monkeypatch)
    first, go_on, ended = Event(), Event(), Event()

    def lines_in(*values: Any, **named: Any) -> Any:
        first.set()
        go_on.wait()
        return begun.lines_in(*values, **named)

    @contextmanager
    def duckdb_in(*values: Any) -> Iterator[Any]:
        with begun.duckdb_in(*values) as connection:
            yield connection
        ended.set()

    monkeypatch.setattr(archive_reader, "lines_in", lines_in)
    monkeypatch.setattr(archive_reader, "duckdb_in", duckdb_in)
    page = asyncio.create_task(read(read_pages(past), LogFilter()))
    await asyncio.to_thread(first.wait)
    page.cancel()
    with pytest.raises(asyncio.CancelledError):
        await page
    go_on.set()
    await asyncio.to_thread(ended.wait)
    assert len(begun.read) == 1


async def test_files_of_a_bucket_are_copied_once_and_the_oldest_copies_evicted(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket is the folder, read as through an object store."""
    await past.archive(0)
    cache = past.folder / "cache"
    archived = ArchivedLines(past.retention.url, cache)
    bucket = archived._files
    bucket._readable = bucket._writing()  # opened while it is a folder
    bucket._folder = None
    pages = LogLinePages(past.store, archived)
    assert len(await read(pages, LogFilter())) == 36
    assert len(list(cache.glob("*.parquet"))) == 2
    monkeypatch.setattr(archive_reader, "CACHED", 1)
    archived._paths.clear()
    for copy in cache.glob("*.parquet"):
        copy.unlink()
    assert len(await read(pages, LogFilter())) == 36
    assert len(list(cache.iterdir())) == 1
    archived._paths.clear()
    for copy in cache.glob("*.parquet"):
        copy.unlink()
    monkeypatch.setattr(bucket, "_reading", lambda: 1 / 0)
    with pytest.raises(Overloaded):
        await read(pages, LogFilter())


async def test_archived_lines_are_refused_without_the_libraries_and_others_are_read(
    past: PastLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.archive(0)
    monkeypatch.setattr(files, "LIBRARIES", ("no_such_library",))
    with pytest.raises(Damaged, match="extra"):
        await read(read_pages(past), LogFilter())
    assert len((await read_pages(past).read("e-1")).data) == 12
    past.now += 40 * DAY
    assert await past.archiver().archive() == []
    assert await past.query("SELECT count(*) FROM log_lines") == [(24,)]
