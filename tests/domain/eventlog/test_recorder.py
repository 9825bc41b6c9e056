"""Constraints of the database on every writer, and dense positions from the recorder of the library."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent

from domain import registry
from domain.eventlog.library import log_recorder
from domain.eventlog.library.recorders import LogRecorder
from domain.eventlog.migrations import migrate_log
from domain.eventlog.sessions import session_options
from domain.model import Recorded
from projections.engine.migrations import migrate_projections
from projections.registry import all_projections
from tests.support.sample_aggregate import store

CHANGES = (
    "UPDATE events SET state = ''",
    "DELETE FROM events",
    "DELETE FROM events WHERE false",
    "TRUNCATE events",
)


@contextmanager
def recording(database: str) -> Iterator[LogRecorder]:
    recorder = log_recorder(database, "executions")
    try:
        yield recorder
    finally:
        recorder.datastore.close()


@pytest.fixture
def recorder(database: str) -> Iterator[LogRecorder]:
    with recording(database) as recorder:
        yield recorder


def event(version: int, stream: str = "tally/a") -> StoredEvent:
    return StoredEvent(stream, version, "tally.raised", b"{}")


def test_conflict_leaves_no_hole_in_the_positions(recorder: LogRecorder) -> None:
    assert recorder.insert_events([event(1), event(2)]) == [1, 2]
    with pytest.raises(IntegrityError):
        recorder.insert_events([event(3), event(2)])
    assert recorder.insert_events([event(3)]) == [3]
    assert recorder.max_notification_id() == 3


def test_two_recorders_share_one_sequence(database: str) -> None:
    with recording(database) as one, recording(database) as other:
        ids = [
            recorder.insert_events([event(version, stream)])
            for version in (1, 2, 3)
            for recorder, stream in ((one, "tally/a"), (other, "tally/b"))
        ]
    assert ids == [[position] for position in range(1, 7)]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", ["origin", "replica"])
def test_events_table_refuses_changes_even_by_its_owner(
    recorder: LogRecorder, database: str, change: str, role: str
) -> None:
    recorder.insert_events([event(1)])
    with psycopg.connect(database, options=session_options("executions")) as owner:
        owner.execute(f"SET session_replication_role = {role}".encode())
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            owner.execute(change.encode())
    [kept] = recorder.select_events("tally/a")
    assert (kept.originator_id, kept.originator_version, kept.state) == ("tally/a", 1, b"{}")


def test_position_is_unique_in_the_database(recorder: LogRecorder, database: str) -> None:
    recorder.insert_events([event(1)])
    with psycopg.connect(database, options=session_options("executions")) as owner:
        again = "INSERT INTO events SELECT 1, 2, at, originator_id, topic, meta, state FROM events"
        with pytest.raises(psycopg.errors.UniqueViolation, match="events_position"):
            owner.execute(again.encode())


def test_inserted_events_are_read_as_events_of_the_log(
    recorder: LogRecorder, database: str
) -> None:
    late = "UPDATE head SET at = '2100-01-01T00:00:00Z'"
    with psycopg.connect(database, options=session_options("executions")) as owner:
        owner.execute(late.encode())
    recorder.insert_events([StoredEvent("tally/a", 1, "tally.begun", b"{}")])

    async def read() -> Recorded:
        log = store(database)
        await log.open()
        try:
            [row] = await log.read(0, 10)
        finally:
            await log.close()
        return log.codec.decode(row)

    recorded = asyncio.run(read())
    assert (recorded.by, recorded.at.year) == ("recorder", 2100)


HELD = {
    "a backup": "LOCK TABLE bookmarks, events, executions IN ACCESS SHARE MODE",
    "a VACUUM": "LOCK TABLE bookmarks, events, executions IN SHARE UPDATE EXCLUSIVE MODE",
    "a writer": "LOCK TABLE bookmarks, events, executions IN ROW EXCLUSIVE MODE",
}


@pytest.mark.parametrize("holder", HELD)
def test_migration_takes_no_lock_if_nothing_is_missing(database: str, holder: str) -> None:
    views = all_projections(registry.codec())
    migrate_projections(database, "executions", views)
    with psycopg.connect(database, options=session_options("executions")) as other:
        other.execute(HELD[holder].encode())
        migrate_log(database, "executions")
        migrate_projections(database, "executions", views)


def test_migration_enables_the_append_only_trigger_again(
    recorder: LogRecorder, database: str
) -> None:
    recorder.insert_events([event(1)])
    with psycopg.connect(database, options=session_options("executions")) as owner:
        owner.execute("ALTER TABLE events DISABLE TRIGGER append_only")
    migrate_log(database, "executions")
    with (
        psycopg.connect(database, options=session_options("executions")) as owner,
        pytest.raises(psycopg.errors.RestrictViolation),
    ):
        owner.execute("DELETE FROM events")
