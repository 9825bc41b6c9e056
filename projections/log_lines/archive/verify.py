"""Verifies the archive files of log lines against the log, and reads how far archiving has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from domain.errors import Damaged, Overloaded
from domain.eventlog.archive.files import ArchiveFiles, is_installed, require_digest
from domain.eventlog.store import Store
from domain.integrity.event_files import CheckedFile
from domain.integrity.fault import Fault
from domain.retention.archived_day import ArchiveFile
from projections.log_lines.archive.parquet import counts_in

PART = "archive"
FILES = """SELECT day, file, first_id, last_id, lines, bytes, digest
    FROM log_archives ORDER BY day, first_id"""
COUNTS = "SELECT execution, lines, earliest, latest FROM log_archive_lines WHERE file = %s"
STRANGE = """SELECT DISTINCT file FROM log_archive_lines AS c
    WHERE NOT EXISTS (SELECT FROM log_archives AS a WHERE a.file = c.file) ORDER BY file"""
AGES = """SELECT (SELECT at FROM log_lines ORDER BY id LIMIT 1), (SELECT max(at) FROM log_archives),
    coalesce(max(last), 0), coalesce(sum(bytes), 0) FROM event_archives"""


WRITTEN = """(SELECT file, bytes FROM log_archives ORDER BY day, first_id)
    UNION ALL (SELECT file, bytes FROM event_archives ORDER BY first)"""


Counts = set[tuple[str, int, datetime, datetime]]
"""For each execution in a file: its id, the number of its lines, and the times of the earliest and the latest line."""


class Ages(NamedTuple):
    """The times at which the oldest line that is not archived was recorded, and at which lines were last archived; the
    position up to which events are archived, and the bytes of their files.
    """

    oldest_line: datetime | None
    last_archived: datetime | None
    events: int
    event_bytes: int


async def ages(store: Store) -> Ages:
    """Return how far archiving has come."""
    async with store.reader() as connection:
        [row] = await (await connection.execute(AGES)).fetchall()
    return Ages(*row)


async def missing_files(store: Store, files: ArchiveFiles) -> list[str]:
    """Return the files of a local archive that are missing or have another size than recorded. A bucket is not checked,
    because that would take a request for each file.
    """
    if not files.is_local:
        return []
    async with store.reader() as connection:
        rows = await (await connection.execute(WRITTEN)).fetchall()
    return await asyncio.to_thread(
        lambda: [file for file, size in rows if files.size(file) != size]
    )


async def check_archive(store: Store, files: ArchiveFiles) -> AsyncIterator[CheckedFile]:
    """Check each file whose lines have been removed from the table, against the log, the stored counts and its digest."""
    async with store.reader() as connection:
        rows = await (await connection.execute(FILES)).fetchall()
        strange = await (await connection.execute(STRANGE)).fetchall()
    for (file,) in strange:
        yield CheckedFile([Fault(PART, file, "has counts of lines, and is no archive file")], True)
    for day, *fields in rows:
        file = ArchiveFile(*fields)
        faults = [Fault(PART, file.file, what) async for what in _differences(store, day, file)]
        async with store.reader() as connection:
            counts = set(await (await connection.execute(COUNTS, (file.file,))).fetchall())
        counted = sum(lines for _, lines, _, _ in counts)
        if counted != file.lines and not is_installed():  # else each execution is compared below
            what = f"has {file.lines} lines, but {counted} are counted by execution"
            faults.append(Fault(PART, file.file, what))
        yield await asyncio.to_thread(_content, files, file, counts, faults)


async def _differences(store: Store, day: Any, file: ArchiveFile) -> AsyncIterator[str]:
    versioned = await store.load(f"archive/{day}")
    if versioned is None or file not in versioned.state.files:
        yield "is not what the log says was archived"


def _content(
    files: ArchiveFiles, file: ArchiveFile, counts: Counts, faults: list[Fault]
) -> CheckedFile:
    if not is_installed() and not files.is_local:
        return CheckedFile(faults, False)
    try:
        with TemporaryDirectory() as work, files.local(file.file, Path(work)) as path:
            require_digest(file.file, path, file.digest)
            if is_installed() and counts != counts_in(file.file, path):
                what = "has other lines of some execution than are counted by execution"
                faults.append(Fault(PART, file.file, what))
    except Damaged as error:
        return CheckedFile([*faults, Fault(PART, file.file, error.reason)], True)
    except Overloaded:
        return CheckedFile(faults, False)
    return CheckedFile(faults, True)
