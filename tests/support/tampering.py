"""A superuser who makes forbidden changes for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from domain.eventlog.sessions import session_options

TABLES = ("events", "audit_tiles", "audit_head", "executions_open", "executions_ended")
COPIED = (
    *TABLES,
    "head",
    "execution_documents",
    "execution_states",
    "snapshots",
    "data_keys",
    "bookmarks",
)
CHANGES = {
    "text": "coalesce({0}, '') || 'x'",
    "bool": "NOT coalesce({0}, false)",
    "timestamptz": "coalesce({0}, 'epoch') + interval '1 second'",
    "bytea": "{0} || 'x'",
    "jsonb": "{0} || '{{\"damaged\": true}}'",
    "date": "{0} + 1",
    "_text": "{0} || 'x'::text",
}
PUT_BACK = "DELETE FROM {0}; INSERT INTO {0} TABLE former_{0};"


def other_value(kind: str) -> str:
    """SQL of another value of the column {0}, by the name of its type."""
    return CHANGES.get(kind, "coalesce({0}, 0) + 1")


@contextmanager
def tampered(conninfo: str, statement: str) -> Iterator[None]:
    """The database after a statement, past the trigger; the change is undone after the block."""
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        for table in COPIED:
            connection.execute(f"CREATE TEMP TABLE former_{table} AS TABLE {table}".encode())
        _change(connection, statement)
        connection.commit()
        try:
            yield
        finally:
            _change(connection, "".join(PUT_BACK.format(table) for table in COPIED))


def change(conninfo: str, statement: str) -> None:
    """Change the database for good, past the trigger."""
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        _change(connection, statement)


def _change(connection: psycopg.Connection, statement: str) -> None:
    connection.execute("ALTER TABLE events DISABLE TRIGGER append_only")
    connection.execute(statement.encode())
    connection.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER append_only")
