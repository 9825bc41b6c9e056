"""Makes the log's tables, and looks whether they are there."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from domain.eventlog.sessions import connect, session_options

# Nothing while the log may be changed: then it is migrated again, which forbids it.
FORM = """SELECT obj_description(to_regclass('head'), 'pg_class') FROM pg_trigger
    WHERE tgrelid = to_regclass('events') AND tgname = 'append_only' AND tgenabled = 'A'"""


def log_exists(conninfo: str, schema: str) -> bool:
    """Whether there is a log in this schema.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        found = connection.execute("SELECT to_regclass(%s)", (f"{schema}.events",)).fetchone()
        return found != (None,)


def migrate_log(conninfo: str, schema: str) -> None:
    """Create what is missing of the log's tables; safe to run at every start, by many at once.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
        connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
        sql = files("domain.eventlog").joinpath("schema.sql").read_bytes()
        form = sha256(sql).hexdigest()[:16]
        # Even DDL that changes nothing waits for a backup or a VACUUM, and every writer behind it.
        if connection.execute(FORM).fetchone() != (form,):
            connection.execute(sql)
            connection.execute(SQL("COMMENT ON TABLE head IS {}").format(Literal(form)))


def any_data_key(conninfo: str, schema: str) -> tuple[str, bytes] | None:
    """One stream with its wrapped data key, to try a master key on; None while there is none."""
    with psycopg.connect(conninfo, options=session_options(schema)) as connection:
        return connection.execute("SELECT originator_id, wrapped FROM data_keys LIMIT 1").fetchone()
