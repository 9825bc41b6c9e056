"""The recorders of the library `eventsourcing`, over the tables of the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from eventsourcing import postgres
from eventsourcing.persistence import Notification, ProgrammingError, StoredEvent
from eventsourcing.utils import retry
from psycopg import Cursor
from psycopg.rows import DictRow, tuple_row
from psycopg.sql import SQL, Literal

from domain.eventlog.library.archived import select_of_log, select_of_streams
from domain.eventlog.library.subscription import FAULTS, LogSubscription, conninfo_of
from domain.eventlog.migrations import migrate_log

EVENTS = "events"
SNAPSHOTS = "application_snapshots"
LOCK = "SELECT position FROM head FOR UPDATE"
ADVANCE = "UPDATE head SET position = position + %b, at = greatest(at, %b)"
INSERT = """INSERT INTO events SELECT first.position + e.place, e.version, first.at, e.id, e.topic,
        '{"by":"recorder"}', e.state
    FROM (SELECT %b::bigint, greatest(at, %b) FROM head) AS first (position, at),
        unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[])
        WITH ORDINALITY AS e (id, version, topic, state, place)
    RETURNING notification_id"""
INSERT_SNAPSHOTS = """INSERT INTO application_snapshots
    SELECT * FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[])"""
SELECT = (
    "SELECT originator_id, originator_version, topic, state, notification_id, at, meta FROM events"
)
OF_STREAM = """ WHERE originator_id = %b AND originator_version > %b AND originator_version <= %b
    ORDER BY originator_version"""
OF_STREAMS = """ WHERE originator_id = ANY(%b::text[]) AND originator_version <= %b
    ORDER BY originator_id, originator_version"""
OF_LOG = " WHERE notification_id > %b AND notification_id <= %b"
TRACK = """INSERT INTO trackings VALUES ({}, %(application_name)s, %(notification_id)s)
    ON CONFLICT (consumer, application_name) DO UPDATE SET notification_id = excluded.notification_id
        WHERE trackings.notification_id < excluded.notification_id
    RETURNING notification_id"""
TRACKED = """SELECT max(notification_id) FROM trackings
    WHERE consumer = {} AND application_name = %s"""
SERVED = "SELECT to_regclass('bookmarks') IS NOT NULL"
"""Whether the log is of a service, which has bookmarks of views: then only the service may append."""

FIRST, NEWEST = -(2**62), 2**62
NOT_OURS = (
    "The schema {} is the log of a service, to which its own commands alone append. Give this \
application a schema of its own by POSTGRES_SCHEMA; it may follow the log of the service."
)


@dataclass(frozen=True)
class RecordedNotification(Notification):
    """A stored event with two more columns of its row: `at`, the time of recording, and `meta`, JSON with the actor."""

    at: datetime
    meta: str


FIELDS = ("originator_id", "originator_version", "topic", "state", "id", "at", "meta")
"""The fields of a `RecordedNotification`, in the order of `SELECT`."""


class _Recorder(postgres.PostgresRecorder):
    """A recorder on the tables of `schema.sql`; a subclass may add tables to `sql_create_statements`."""

    def create_table(self) -> None:
        migrate_log(conninfo_of(self.datastore), self.datastore.schema)
        postgres.PostgresRecorder.create_table(self)

    def _create_table(self, curs: Cursor[DictRow]) -> None:
        postgres.PostgresRecorder._create_table(self, curs)  # noqa: SLF001 - our tables have no older form


class LogRecorder(_Recorder, postgres.PostgresApplicationRecorder):
    """Appends and reads stored events. The table name that the library passes is ignored."""

    def __init__(
        self,
        datastore: postgres.PostgresDatastore,
        *,
        events_table_name: str = EVENTS,
        **names: Any,
    ) -> None:
        super().__init__(datastore, events_table_name=EVENTS, **names)
        self.sql_create_statements.clear()
        self.channel_name = datastore.schema
        self._may_append = False

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Append events in one transaction, with consecutive positions. A process recorder may be given a `tracking`, which
        is written in the same transaction.

        Raises:
            IntegrityError: a version is taken, or the tracking is not ahead; nothing was written.
            ProgrammingError: the schema is the log of a service.
        """
        if stored_events and not self._may_append:
            # Before the transaction, as the library commits what was written before a Python exception.
            self._require_own_log()
        positions: Sequence[int] | None = super().insert_events(stored_events, **kwargs)
        return positions

    def _require_own_log(self) -> None:
        with self.datastore.get_connection() as connection:
            [(served,)] = connection.cursor(row_factory=tuple_row).execute(SERVED).fetchall()
        if served:
            raise ProgrammingError(NOT_OURS.format(self.datastore.schema))
        self._may_append = True

    def _insert_stored_events(
        self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **_: Any
    ) -> None:
        now = datetime.now(UTC)
        first = curs.execute(LOCK).fetchone()
        assert first is not None
        curs.execute(ADVANCE, (len(stored_events), now))
        self._notify_channel(curs)
        curs.execute(INSERT, (first["position"], now, *_columns(stored_events)))

    @retry(FAULTS, max_attempts=10, wait=0.2)
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[RecordedNotification]:
        order = " DESC" if desc else ""
        bounds = (_value_or(gt, FIRST), _value_or(lte, NEWEST), _value_or(limit, NEWEST))
        query, stream = f"{SELECT}{OF_STREAM}{order} LIMIT %b", str(originator_id)
        return self._select(select_of_streams, query, (stream, *bounds), [stream])

    @retry(FAULTS, max_attempts=10, wait=0.2)
    def select_first_events(
        self, originator_ids: Sequence[str], lte: int
    ) -> Sequence[RecordedNotification]:
        """The events of several streams, up to a version, in one query: where streams are short, a query for each would take
        ten times as long.
        """
        streams = list(originator_ids)
        return self._select(select_of_streams, SELECT + OF_STREAMS, (streams, lte), streams)

    @retry(FAULTS, max_attempts=10, wait=0.2)
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[RecordedNotification]:
        after = _value_or(start, FIRST) - inclusive_of_start
        of_topics = " AND topic = ANY(%b)" if topics else ""
        query = f"{SELECT}{OF_LOG}{of_topics} ORDER BY notification_id LIMIT %b"
        more = [list(topics)] if topics else []
        return self._select(select_of_log, query, (after, _value_or(stop, NEWEST)), more, limit)

    def _select(
        self, select: Callable[..., Sequence[tuple[Any, ...]]], *arguments: Any
    ) -> list[RecordedNotification]:
        with self.datastore.get_connection() as connection:
            cursor = connection.cursor(binary=True, row_factory=tuple_row)
            return [_make_notification(row) for row in select(cursor, *arguments)]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> LogSubscription:
        return LogSubscription(self, gt, topics)


class LogTrackingRecorder(_Recorder, postgres.PostgresTrackingRecorder):
    """Stores the position of each consumer, in one table for all consumers.

    The name of a consumer is the name of the projection, which the library puts before `_tracking`.
    """

    def __init__(
        self,
        datastore: postgres.PostgresDatastore,
        *,
        tracking_table_name: str = "notification_tracking",
        **names: Any,
    ) -> None:
        super().__init__(datastore, tracking_table_name=tracking_table_name, **names)
        self.sql_create_statements.clear()
        consumer = Literal(tracking_table_name.removesuffix("_tracking"))
        self.insert_tracking_statement = SQL(TRACK).format(consumer)
        self.max_tracking_id_statement = SQL(TRACKED).format(consumer)


class LogProcessRecorder(LogTrackingRecorder, LogRecorder, postgres.PostgresProcessRecorder):
    """Appends events together with the tracking of the event that they follow from."""


class SnapshotRecorder(_Recorder, postgres.PostgresAggregateRecorder):
    """Stores the snapshots of the aggregates of an application, in another table than those of the service."""

    def __init__(
        self, datastore: postgres.PostgresDatastore, *, events_table_name: str = SNAPSHOTS
    ) -> None:
        super().__init__(datastore, events_table_name=SNAPSHOTS)
        self.sql_create_statements.clear()

    def _insert_stored_events(
        self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **_: Any
    ) -> None:
        curs.execute(INSERT_SNAPSHOTS, _columns(stored_events))

    def select_events(self, originator_id: UUID | str, **bounds: Any) -> Sequence[StoredEvent]:
        found: Sequence[StoredEvent] = super().select_events(str(originator_id), **bounds)
        return found


def _make_notification(row: tuple[Any, ...]) -> RecordedNotification:
    """Make a notification without `__init__`, which takes three times as long for a frozen dataclass."""
    made = object.__new__(RecordedNotification)
    object.__setattr__(made, "__dict__", dict(zip(FIELDS, row, strict=True)))
    return made


def _columns(events: Sequence[StoredEvent]) -> list[list[Any]]:
    rows = ((str(e.originator_id), e.originator_version, e.topic, e.state) for e in events)
    return [list(column) for column in zip(*rows, strict=True)]


def _value_or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
