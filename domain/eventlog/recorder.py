"""The log's tables as a recorder of `eventsourcing`, the only user of that library.

The library gives the contract (`insert_events`, `select_events`, `select_notifications`) and the
words for it; the columns are its columns and a position is its notification id. What differs is
why this class exists: the row `head` is lock and counter in one where the library takes a table
lock and a sequence, so positions have no holes, also after a conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow

from domain.eventlog.sessions import session_options

LOCK = "SELECT position FROM head FOR UPDATE"
ADVANCE = "UPDATE head SET position = position + %b, at = greatest(at, %b)"
INSERT = """INSERT INTO events SELECT first.position + e.place, e.version, first.at, e.id, e.topic,
        '{"by":"recorder"}', e.state
    FROM (SELECT %b::bigint, greatest(at, %b) FROM head) AS first (position, at),
        unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[])
        WITH ORDINALITY AS e (id, version, topic, state, place)"""


class Recorder(PostgresApplicationRecorder):
    """Appends and reads stored events through the library's own interface."""

    def __init__(self, conninfo: str, schema: str) -> None:
        part = conninfo_to_dict(conninfo)
        datastore = PostgresDatastore(
            *(str(part.pop(name, "")) for name in ("dbname", "host", "port", "user", "password")),
            schema=schema,
            originator_id_type="text",
            pool_size=1,
            max_overflow=9,
            connect_timeout=3,
        )
        connect = datastore.pool.kwargs
        assert isinstance(connect, dict)
        connect.update(part, options=session_options(schema))
        super().__init__(datastore, events_table_name="events")
        self.channel_name = schema

    def _insert_stored_events(
        self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **_: Any
    ) -> None:
        now = datetime.now(UTC)
        first = curs.execute(LOCK).fetchone()
        assert first is not None
        rows = [(e.originator_id, e.originator_version, e.topic, e.state) for e in stored_events]
        curs.execute(ADVANCE, (len(rows), now))
        self._notify_channel(curs)
        columns = [list(column) for column in zip(*rows, strict=True)]
        curs.execute(INSERT + " RETURNING notification_id", (first["position"], now, *columns))
