"""The log's tables as a recorder of `eventsourcing`, the only user of that library.

The library gives the contract (`insert_events`, `select_events`, `select_notifications`) and the
words for it; the columns are its columns and a position is its notification id. What differs is
why this class exists: the row `head` is lock and counter in one where the library takes a table
lock and a sequence, so positions have no holes, also after a conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier, Literal

from domain.errors import Overloaded

LOCK = "SELECT position FROM head FOR UPDATE"
ADVANCE = "UPDATE head SET position = position + %b, at = greatest(at, %b)"
# Nothing while the log may be changed: then it is migrated again, which forbids it.
FORM = """SELECT obj_description(to_regclass('head'), 'pg_class') FROM pg_trigger
    WHERE tgrelid = to_regclass('events') AND tgname = 'append_only' AND tgenabled = 'A'"""
INSERT = """INSERT INTO events SELECT first.position + e.place, e.version, first.at, e.id, e.topic,
        '{"by":"recorder"}', e.state
    FROM (SELECT %b::bigint, greatest(at, %b) FROM head) AS first (position, at),
        unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[])
        WITH ORDINALITY AS e (id, version, topic, state, place)"""


def session_options(schema: str) -> str:
    """The settings of every session: its schema, UTC, and no wait without an end."""
    return (
        f"-c search_path={schema} -c timezone=UTC -c lock_timeout=5s"
        " -c idle_in_transaction_session_timeout=10s"
    )


def exists(conninfo: str, schema: str) -> bool:
    """Whether there is a log in this schema.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with _connected(conninfo, schema) as connection:
        found = connection.execute("SELECT to_regclass(%s)", (f"{schema}.events",)).fetchone()
        return found != (None,)


def _connected(conninfo: str, schema: str) -> psycopg.Connection:
    try:
        return psycopg.connect(conninfo, options=session_options(schema), connect_timeout=10)
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise Overloaded(f"The database cannot be reached: {error}".strip()) from error


def migrate(conninfo: str, schema: str) -> None:
    """Create what is missing of the log's tables; safe to run at every start, by many at once.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with _connected(conninfo, schema) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
        connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
        sql = files("domain").joinpath("schema.sql").read_bytes()
        form = sha256(sql).hexdigest()[:16]
        # Even DDL that changes nothing waits for a backup or a VACUUM, and every writer behind it.
        if connection.execute(FORM).fetchone() != (form,):
            connection.execute(sql)
            connection.execute(SQL("COMMENT ON TABLE head IS {}").format(Literal(form)))


def any_data_key(conninfo: str, schema: str) -> tuple[str, bytes] | None:
    """One stream with its wrapped data key, to try a master key on; None while there is none."""
    with psycopg.connect(conninfo, options=session_options(schema)) as connection:
        return connection.execute("SELECT originator_id, wrapped FROM data_keys LIMIT 1").fetchone()


def variables(conninfo: str, schema: str) -> dict[str, str]:
    """The environment in which PostgreSQL's own programs find the log.

    Not their command line: that is shown to every user of the machine, and a password is in here.
    """
    told = {
        option.envvar.decode(): option.val.decode()
        for option in Conninfo.parse(conninfo.encode())
        if option.envvar and option.val
    }
    options = f"{told.get('PGOPTIONS', '')} -c search_path={schema}".strip()
    return {**told, "PGOPTIONS": options}


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
