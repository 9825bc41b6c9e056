"""Events about the archive files of the log lines of a day."""

from __future__ import annotations

from typing import Any

from domain.retention.archived_day import ArchiveFile, ArchiveLogs, LogsArchived
from tests.support.given import Given, given


def fields(first: int, last: int, digest: str = "d") -> dict[str, Any]:
    name = f"{first}-{last}.parquet"
    size = {"lines": last - first + 1, "bytes": 10, "digest": digest}
    return {"file": name, "first": first, "last": last, **size}


def day(*events: LogsArchived) -> Given:
    return given(*events, stream="archive/2026-10-28")


def test_files_of_a_day_are_in_the_order_of_their_ids() -> None:
    later, earlier = LogsArchived(**fields(4, 6)), LogsArchived(**fields(1, 3))
    state = day(later).when(ArchiveLogs(**fields(1, 3))).then(earlier).state
    assert state.id == "2026-10-28"
    assert state.files == (ArchiveFile(**fields(1, 3)), ArchiveFile(**fields(4, 6)))


def test_recorded_file_is_not_recorded_again() -> None:
    day(LogsArchived(**fields(1, 3))).when(ArchiveLogs(**fields(1, 3))).then()


def test_file_with_lines_of_former_files_replaces_them() -> None:
    known = day(*(LogsArchived(**fields(*ids)) for ids in ((1, 3), (4, 6), (7, 9))))
    written = fields(1, 5, "other")
    state = known.when(ArchiveLogs(**written)).then(LogsArchived(**written)).state
    assert state.files == (ArchiveFile(**written), ArchiveFile(**fields(7, 9)))
