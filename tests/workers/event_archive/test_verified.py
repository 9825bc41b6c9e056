"""Verification compares what the database records of archived events with the log and the files, column by column."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.errors import Damaged
from domain.eventlog.archive.files import ArchiveFiles
from domain.integrity.event_files import check_event_files
from domain.retention.hold import PlaceHold
from tests.support.past_events import EVENTS, PastEvents

pytestmark = pytest.mark.anyio

OTHER_POSITIONS, OTHER_VERSIONS = "at other positions", "other versions in the table"
CHANGES = {
    "event_archives": {
        "first": ("first + 1", "does not follow on position"),
        "last": ("last - 1", "is not what the log says"),
        "file": ("'events/9-16.events'", "is not what the log says"),
        "bytes": ("bytes + 1", "is not what the log says"),
        "digest": ("repeat('0', 64)", "is not what the log says"),
        "blocks": (
            "overlay(blocks placing '\\x00' from 9)",
            "has other blocks than the table says",
        ),
    },
    "event_archive_streams": {
        "originator_id": ("'execution/e-9'", OTHER_POSITIONS),
        "first_version": ("first_version + 1", OTHER_VERSIONS),
        "last_version": ("last_version - 1", OTHER_VERSIONS),
        "positions": ("set_byte(positions, 1, 2)", OTHER_POSITIONS),
        "parties": ('\'{"customer": "another"}\'', "has other parties"),
        "first_position": ("first_position + 1", OTHER_VERSIONS),
    },
}
CHANGE = """UPDATE {table} SET {column} = {value}
    WHERE ctid = (SELECT ctid FROM {table} ORDER BY {order} LIMIT 1)"""
CASES = [
    pytest.param(table, column, value, fault, id=f"{table}.{column}")
    for table, columns in CHANGES.items()
    for column, (value, fault) in columns.items()
]


@pytest.fixture
async def past(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastEvents]:
    """A log with two executions in files, and one in a file and in the table."""
    async with PastEvents.opened(database_with_views, tmp_path) as opened:
        await opened.run("e-0")
        await opened.pause("e-1")
        await opened.run("e-2")
        assert len(await opened.archive_events()) > 1
        yield opened


async def faults(past: PastEvents) -> list[str]:
    files = ArchiveFiles((past.folder / "archive").as_uri())
    checked = [each async for each in check_event_files(past.store, files)]
    return [fault.what for each in checked for fault in each.faults]


async def test_unchanged_archive_has_no_faults(past: PastEvents) -> None:
    assert await faults(past) == []


@pytest.mark.parametrize(("table", "column", "value", "fault"), CASES)
async def test_changed_column_is_found(
    past: PastEvents, table: str, column: str, value: str, fault: str
) -> None:
    order = "first" if table == "event_archives" else "first_position"
    await past.query(CHANGE.format(table=table, column=column, value=value, order=order))
    assert any(fault in found for found in await faults(past))


async def test_execution_kept_by_a_hold_is_found_in_the_table(
    database_with_views: str, tmp_path: Path
) -> None:
    async with PastEvents.opened(database_with_views, tmp_path) as past:
        await past.run("e-0")
        await past.place(PlaceHold(reason="claim", executions=("e-0",)), "h-1")
        await past.run("e-1", steps=3)
        await past.archive_events()
        assert await faults(past) == []
        change = "UPDATE event_archives SET kept = %s::text[] WHERE first = 1"
        await past.query(change, [])
        assert await faults(past) == ["rests in the table, where nothing says that a hold kept it"]
        await past.query(change, ["execution/e-0", "execution/e-9"])
        missing = "is not in the table, where a hold is said to have kept it"
        assert await faults(past) == [missing]


CUTS = {
    "part of a length": ("substring(blocks FOR 3)", "has other blocks than the table says"),
    "part of a digest": ("substring(blocks FOR 20)", "has other blocks than the table says"),
    "all": ("''", "has other events than those of its positions"),
}


@pytest.mark.parametrize("cut", CUTS)
async def test_truncated_index_of_a_file_is_named_and_affects_no_other_read(
    past: PastEvents, cut: str
) -> None:
    value, fault = CUTS[cut]
    change = {"table": "event_archives", "column": "blocks", "value": value, "order": "first"}
    await past.query(CHANGE.format(**change))
    assert await faults(past) == [fault]
    for read in (past.store.history("execution/e-0"), past.store.read(0, 4)):
        with pytest.raises(Damaged) as refused:
            await read
        assert refused.value.members["file"] == "events/1-8.events"
    assert len(await past.store.history("execution/e-2")) == EVENTS


@pytest.mark.parametrize("cut", ["substring(positions FOR 1)", "positions || '\\x80'"])
async def test_truncated_positions_are_named_and_affect_no_other_read(
    past: PastEvents, cut: str
) -> None:
    change = {"table": "event_archive_streams", "column": "positions", "value": cut}
    await past.query(CHANGE.format(**change, order="first_position"))
    assert await faults(past) == [
        "has other versions in the table of what is archived than positions"
    ]
    for read in (past.store.history("execution/e-0"), past.store.load("execution/e-0")):
        with pytest.raises(Damaged) as refused:
            await read
        assert refused.value.members["stream"] == "execution/e-0"
    assert len(await past.store.history("execution/e-2")) == EVENTS
