"""Compares the archive files of events with the log and with the table `event_archives`. The events in the files are checked
with the log, as they are read from the files.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from domain.errors import Damaged, Overloaded
from domain.eventlog.archive.blocks import events_in
from domain.eventlog.archive.files import ArchiveFailed, ArchiveFiles, require_digest
from domain.eventlog.store import Store
from domain.integrity.event_positions import Filed, find_position_faults, positions_in_file
from domain.integrity.fault import Fault
from domain.retention.archived_range import EventFile

PART = "archive"
FILES = "SELECT first, last, file, bytes, digest, blocks FROM event_archives ORDER BY first"
STRAY = """SELECT DISTINCT originator_id, 'has events in the table that are archived, too'
    FROM event_archive_streams AS s JOIN events AS e USING (originator_id)
    WHERE e.originator_version >= s.first_version AND e.originator_version <= s.last_version"""
# An execution at rest is in the table only if a hold keeps or kept it: then `event_archives` names it in `kept`.
MISPLACED_BY_HOLDS = """WITH kept AS (SELECT unnest(kept) AS stream FROM event_archives),
    resting AS (SELECT DISTINCT originator_id AS stream FROM events AS e, (SELECT max(last) AS last FROM event_archives) AS a
        WHERE notification_id <= a.last AND originator_id LIKE 'execution/%' AND NOT EXISTS (SELECT FROM events AS l
            WHERE l.originator_id = e.originator_id AND l.notification_id > a.last))
    SELECT stream, 'rests in the table, where nothing says that a hold kept it' FROM resting
        WHERE stream NOT IN (SELECT stream FROM kept)
    UNION ALL SELECT DISTINCT stream, 'is not in the table, where a hold is said to have kept it' FROM kept
        WHERE stream NOT IN (SELECT originator_id FROM events WHERE originator_id IN (SELECT stream FROM kept))"""


class CheckedFile(NamedTuple):
    """The faults of a file, and whether the file could be reached."""

    faults: list[Fault]
    reached: bool


class _Archived(NamedTuple):
    first: int
    last: int
    file: str
    size: int
    digest: str
    blocks: bytes

    def equals(self, recorded: EventFile | None) -> bool:
        """Whether the row equals the file in the event of the log."""
        if recorded is None:
            return False
        members = ("first", "last", "file", "bytes", "digest")
        return self[:5] == tuple(getattr(recorded, name) for name in members)


async def check_event_files(store: Store, files: ArchiveFiles) -> AsyncIterator[CheckedFile]:
    """Check each file of events: its row against the log, and its bytes against the row."""
    async with store.reader() as connection:
        rows = await (await connection.execute(FILES)).fetchall()
        stray = await (
            await connection.execute(f"{MISPLACED_BY_HOLDS} UNION ALL {STRAY}".encode())
        ).fetchall()
    for stream, what in stray:
        yield CheckedFile([Fault(PART, stream, what)], True)
    next_position = 1
    for row in rows:
        archived, faults = _Archived(*row), list[Fault]()
        if archived.first != next_position:
            what = f"does not follow on position {next_position - 1}"
            faults.append(Fault(PART, archived.file, what))
        next_position = archived.last + 1
        known = await store.load(f"range/{archived.first}")
        if not archived.equals(known and known.state.file):
            faults.append(Fault(PART, archived.file, "is not what the log says that was archived"))
        checked, streams = await asyncio.to_thread(_check_bytes, files, archived, faults)
        if streams:
            found = await find_position_faults(store, archived.first, archived.last, streams)
            checked = checked._replace(faults=[*checked.faults, *found])
        yield checked


def _check_bytes(
    files: ArchiveFiles, archived: _Archived, faults: list[Fault]
) -> tuple[CheckedFile, dict[str, Filed]]:
    try:
        with TemporaryDirectory() as work, files.local(archived.file, Path(work)) as path:
            require_digest(archived.file, path, archived.digest)
            content = path.read_bytes()
    except Damaged as error:
        return CheckedFile([*faults, Fault(PART, archived.file, error.reason)], True), {}
    except (Overloaded, ArchiveFailed):
        return CheckedFile(faults, False), {}
    try:
        events = list(events_in(content, archived.blocks))
        if [row.position for row in events] == list(range(archived.first, archived.last + 1)):
            return CheckedFile(faults, True), positions_in_file(events)
        what = "has other events than those of its positions"
        return CheckedFile([*faults, Fault(PART, archived.file, what)], True), {}
    except ValueError:
        what = "has other blocks than the table says"
        return CheckedFile([*faults, Fault(PART, archived.file, what)], True), {}
