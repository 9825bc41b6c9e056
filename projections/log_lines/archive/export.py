"""Exports lines of a day from the table into a file of the archive. This takes long: call it in a thread."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, BinaryIO, NamedTuple

import psycopg
from psycopg import Connection, Copy
from psycopg.abc import Buffer
from psycopg.errors import QueryCanceled, error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from domain.errors import Damaged
from domain.eventlog.archive.files import (
    ArchiveFailed,
    ArchiveFiles,
    digest_of,
    require_digest,
    require_installed,
)
from domain.eventlog.sessions import session_options
from domain.retention.archived_day import ArchiveFile
from projections.log_lines.archive import parquet
from projections.log_lines.archive.days import EXPORTED, Day, content_of

LARGEST = 256 * 1024 * 1024
"""Bytes of exported CSV after which a file ends."""
MOST_NAMES = 100
"""Names that are tried for a file if the archive already has other files of these names."""
FOLDER = "log-lines"


class ExportedLines(NamedTuple):
    """The number of exported lines, and their first and last id."""

    lines: int
    first: int
    last: int


class WrittenFile(NamedTuple):
    """A local file that is not yet in the archive: its lines, and the content that the table has of them."""

    day: Day
    part: ExportedLines
    expected: parquet.Content
    path: Path


class Exporter:
    """Writes files to the archive, and verifies them by reading them back. Temporary files are in `work`."""

    def __init__(self, conninfo: str, schema: str, files: ArchiveFiles, work: Path) -> None:
        self._conninfo = conninfo
        self._schema = schema
        self._files = files
        self._work = work

    def clean_up(self) -> None:
        """Delete all temporary files, such as those that a crash or a failure has left."""
        shutil.rmtree(self._work, ignore_errors=True)

    def write(self, day: Day, after: int) -> WrittenFile:
        """Write the next lines of a day after an id, of which there must be some, to a local file. PostgreSQL computes
        their content while the file is being sorted and written.

        Raises:
            ArchiveFailed: the file cannot be written.
        """
        require_installed()
        self._work.mkdir(parents=True, exist_ok=True)
        target = Path(mkdtemp(dir=self._work)) / "lines.parquet"
        with parquet.new_file(target) as lines:
            with (
                self._connect() as connection
            ):  # used only once, as its cancel request may arrive late
                part = _export(connection, day, after, lines)
            lines.close()
            with self._connect() as connection:
                expected = content_of(connection, day, part.first, part.last)
        return WrittenFile(day, part, expected, target)

    def store(self, written: WrittenFile) -> ArchiveFile:
        """Put a written file into the archive, read it back, and delete the local file.

        Raises:
            ArchiveFailed: the file cannot be put there, or does not have the lines of the table.
        """
        for name in _names(written.day, written.part):
            if not self._files.put(name, written.path.read_bytes()):
                found = self._find(name, written)
            elif (found := self._find(name, written)) is None:
                raise ArchiveFailed(f"{name} does not have what the table has")
            if found is not None:
                shutil.rmtree(written.path.parent)
                return found
        raise ArchiveFailed(f"there are {MOST_NAMES} other files where {name} would be")

    def has_lines(self, day: Day, file: ArchiveFile) -> bool:
        """Whether the archive has a recorded file, undamaged and with the lines that the table still has.

        Raises:
            ArchiveAway: the archive cannot be reached.
        """
        require_installed()
        if not self._files.is_made():
            return False
        with self._folder() as work, self._connect() as connection:
            expected = content_of(connection, day, file.first, file.last)
            with suppress(Damaged), self._files.local(file.file, work) as path:
                require_digest(file.file, path, file.digest)
                return parquet.content(file.file, path) == expected
        return False

    def _find(self, name: str, written: WrittenFile) -> ArchiveFile | None:
        """Read a file back from the archive and return it; None if it does not have the lines."""
        part = written.part
        with suppress(Damaged), self._files.local(name, written.path.parent) as path:
            if parquet.content(name, path) == written.expected:
                size, digest = path.stat().st_size, digest_of(path)
                return ArchiveFile(name, part.first, part.last, part.lines, size, digest)
        return None

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Yield a new temporary folder. A folder that a crash has left is never used again."""
        self._work.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self._work) as folder:
            yield Path(folder)

    @contextmanager
    def _connect(self) -> Iterator[Connection[Any]]:
        options = session_options(self._schema)
        with psycopg.connect(self._conninfo, autocommit=True, options=options) as connection:
            yield connection


def _export(connection: Connection[Any], day: Day, after: int, target: BinaryIO) -> ExportedLines:
    lines = size = 0
    first: Buffer = b""
    last: Buffer = b""
    with (
        suppress(QueryCanceled),
        connection.cursor() as cursor,
        cursor.copy(EXPORTED, {**day.bounds, "after": after}) as copy,
    ):
        for data in rows_of(copy, connection.pgconn):
            if size >= LARGEST:  # rows that arrive after the cancel request belong to the next file
                continue
            lines += 1
            size += target.write(data)
            first, last = first or data, data
            if size >= LARGEST:
                connection.cancel_safe()
    return ExportedLines(lines, _id(first), _id(last))


def rows_of(copy: Copy, connection: PGconn) -> Iterator[Buffer]:
    """Yield the rows of a COPY. Rows that have already arrived are taken from libpq at once: psycopg would poll for each
    row, which takes several times as long.
    """
    size = 0
    while not size and (row := copy.read()):
        yield row
        while (arrived := connection.get_copy_data(1))[0] > 0:
            yield arrived[1]
        size = arrived[0]
    results: list[PGresult] = []
    while size and (result := connection.get_result()):
        results.append(result)
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(result)


def _id(row: Buffer) -> int:
    return int(bytes(row).partition(b",")[0])


def _names(day: Day, part: ExportedLines) -> Iterator[str]:
    """Yield the names to try for a file, in order. An existing file with other lines is never replaced."""
    name = f"{FOLDER}/{day.day}/{part.first}-{part.last}"
    yield f"{name}.parquet"
    for number in range(2, MOST_NAMES + 1):
        yield f"{name}-{number}.parquet"
