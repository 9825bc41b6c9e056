"""Reads the archived lines of one execution in the order of their times."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import structlog
from psycopg import AsyncConnection

from domain.errors import ArchiveAway, Damaged
from domain.eventlog.archive.files import ArchiveFiles, is_installed
from projections.log_lines.archive.parquet import duckdb_in, lines_in
from projections.log_lines.model import LineSortKey, LogFilter, StoredLine

AT_ONCE = 2
"""Pages that are read at the same time: each takes a thread and some megabytes."""
CACHED = 2 * 1024**3
"""Bytes of local copies that are kept of files in a remote archive."""
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
FILES = """SELECT a.file, a.digest, l.earliest, l.latest FROM log_archive_lines AS l
    JOIN log_archives AS a USING (file) WHERE l.execution = %s"""

log = structlog.get_logger()


class FileOfLines(NamedTuple):
    """A file with lines of an execution, and the times of the first and the last of them."""

    file: str
    digest: str
    earliest: datetime
    latest: datetime


class LineQuery(NamedTuple):
    """The lines to read: the first `limit` lines after a sort key that pass a filter."""

    execution: str
    only: LogFilter
    sort_key: LineSortKey
    limit: int
    descending: bool


async def files_of(connection: AsyncConnection, execution: str) -> list[FileOfLines]:
    """Return the files with lines of an execution."""
    cursor = await connection.execute(FILES, (execution,))
    return [FileOfLines(*row) for row in await cursor.fetchall()]


class ArchivedLines:
    """Reads lines from the files of an archive, or from copies of remote files in `cache`. The digest of a file is checked
    when the file is first read.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._files = ArchiveFiles(url)
        self._cache = cache
        self._paths: dict[str, tuple[Path, int]] = {}
        """By digest: the local path of the file, and its modification time when the digest was checked."""
        self._readers = asyncio.Semaphore(AT_ONCE)
        self._is_unavailable = False

    async def lines(self, files: Sequence[FileOfLines], reading: LineQuery) -> list[StoredLine]:
        """Return at least the first lines of several files together that meet the query, in the order of time.

        Raises:
            Damaged: a file is missing or damaged; `file` names it.
            ArchiveAway: the archive cannot be reached.
        """
        needed = list(_in_order(files, reading))
        if not needed:
            return []
        if not is_installed():
            raise Damaged(
                "Archived log lines cannot be read: the server has been set up without its extra "
                "`archive`.",
                reason="executions[archive] is not installed",
                file=needed[0].file,
            )
        cancelled = Event()
        async with self._readers:
            try:
                found = await asyncio.to_thread(self._read, needed, reading, cancelled)
            except ArchiveAway as error:
                if not self._is_unavailable:
                    log.warning("the archive of log lines is unavailable", reason=error.reason)
                self._is_unavailable = True
                raise
            finally:
                cancelled.set()
        self._is_unavailable = False
        return found

    def _read(
        self, files: Sequence[FileOfLines], reading: LineQuery, cancelled: Event
    ) -> list[StoredLine]:
        """Read one file after the other, until the query is answered or cancelled."""
        condition, values = _condition(reading)
        found: list[StoredLine] = []
        with duckdb_in(self._cache, 1) as connection:
            for file in files:
                if cancelled.is_set() or _is_complete(found, file, reading):
                    break
                found += lines_in(
                    connection,
                    file.file,
                    self._path(file),
                    reading.execution,
                    condition=condition,
                    values=values,
                    limit=reading.limit,
                    descending=reading.descending,
                )
                found.sort(key=_order, reverse=reading.descending)
        return found

    def _path(self, file: FileOfLines) -> Path:
        path, checked_at = self._paths.get(file.digest, (None, 0))
        if path is not None and path.is_file() and path.stat().st_mtime_ns == checked_at:
            return path
        path = self._files.fetch(file.file, file.digest, self._cache)
        self._paths[file.digest] = path, path.stat().st_mtime_ns
        if path.parent == self._cache:
            _trim(self._cache, path)
        return path


def _in_order(files: Sequence[FileOfLines], reading: LineQuery) -> Iterator[FileOfLines]:
    """Yield the files that may have lines for a query, in the order in which they are read."""
    since, until, at = reading.only.since, reading.only.until, reading.sort_key.at
    ordered = sorted(files, key=lambda file: file.latest if reading.descending else file.earliest)
    for file in reversed(ordered) if reading.descending else ordered:
        beyond = file.earliest <= at if reading.descending else file.latest >= at
        if (
            beyond
            and (since is None or file.latest >= since)
            and (until is None or file.earliest < until)
        ):
            yield file


def _is_complete(found: Sequence[StoredLine], file: FileOfLines, reading: LineQuery) -> bool:
    """Whether the page is full, and neither `file` nor a later file can have a line that comes before its last one."""
    if len(found) < reading.limit:
        return False
    last = found[reading.limit - 1].occurred_at
    return file.latest < last if reading.descending else file.earliest > last


def _order(line: StoredLine) -> tuple[datetime, int]:
    return line.occurred_at, line.id


def _condition(reading: LineQuery) -> tuple[str, list[Any]]:
    only, sort_key = reading.only, reading.sort_key
    beyond, edge = ("<", "<=") if reading.descending else (">", ">=")
    at = _microseconds(sort_key.at)
    parts = [
        f"occurred_at {edge} make_timestamp(?)",
        f"(occurred_at, 1, id) {beyond} (make_timestamp(?), ?, ?)",
    ]
    values: list[Any] = [at, at, sort_key.origin, sort_key.id]
    if only.level:
        parts.append("list_contains(?, level)")
        values.append(list(only.level))
    if only.step is not None:
        parts.append("step = ?")
        values.append(only.step)
    for sign, time in ((">=", only.since), ("<", only.until)):
        if time is not None:
            parts.append(f"occurred_at {sign} make_timestamp(?)")
            values.append(_microseconds(time))
    return " AND ".join(parts), values


def _microseconds(time: datetime) -> int:
    return (time - EPOCH) // MICROSECOND


def _trim(cache: Path, newest: Path) -> None:
    """Delete the oldest copies of files beyond `CACHED` bytes."""
    copies = sorted(cache.glob("*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)
    size = 0
    for path in copies:
        size += path.stat().st_size
        if size > CACHED and path != newest:
            path.unlink(missing_ok=True)
