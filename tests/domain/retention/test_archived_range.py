"""Events about the archive file of a range of events."""

from __future__ import annotations

from typing import Any

from domain.retention.archived_range import ArchiveEvents, EventFile, EventsArchived
from tests.support.given import given

FIELDS: dict[str, Any] = {
    "file": "events/1-8.events",
    "first": 1,
    "last": 8,
    "bytes": 700,
    "digest": "a" * 64,
    "root": "b" * 64,
}


def test_file_is_recorded_once() -> None:
    state = (
        given(stream="range/1").when(ArchiveEvents(**FIELDS)).then(EventsArchived(**FIELDS)).state
    )
    assert state.file == EventFile(**FIELDS)
    given(EventsArchived(**FIELDS), stream="range/1").when(ArchiveEvents(**FIELDS)).then()


def test_rewritten_file_replaces_the_former_one() -> None:
    again = FIELDS | {"file": "events/1-8-2.events"}
    known = given(EventsArchived(**FIELDS), stream="range/1").when(ArchiveEvents(**again))
    assert known.then(EventsArchived(**again)).state.file == EventFile(**again)
