"""The journal of a move: a row in both databases that has the last step that is done."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row

from domain.eventlog.sessions import connect

EXISTS = "SELECT to_regclass('log_move') IS NOT NULL"
READ = """SELECT id, step, target, fenced_until IS NOT NULL AS closed, moved, follow,
    fenced_until IS NOT DISTINCT FROM 'infinity' AS sealed FROM log_move"""
BEGIN = """INSERT INTO log_move (id, step, target, follow) VALUES (%s, %s, %s, %s)
    ON CONFLICT (single) DO UPDATE SET id = excluded.id, step = excluded.step, target = excluded.target,
        fenced_until = NULL, moved = false, follow = excluded.follow"""
NOTE = "UPDATE log_move SET step = %s WHERE id = %s"
FORGET = "DELETE FROM log_move WHERE id = %s"
LOCATION = ("host", "hostaddr", "port", "dbname")
"""The parameters of a connection string that locate a database."""
OF_HOST = (*LOCATION, "service", "target_session_attrs", "load_balance_hosts")
"""The parameters of a connection string that do not hold for another database."""


class Journal(NamedTuple):
    """A row of the journal: the id of the move, the last step that is done, the location it moves to, whether the fence is or
    was closed, whether the log is at the target now, whether servers follow it there by themselves, and whether the fence is
    closed for good.
    """

    id: str
    step: str
    target: str
    closed: bool
    moved: bool
    follow: bool
    sealed: bool


def schema() -> bytes:
    """The SQL that makes the table of the journal."""
    return files("domain.eventlog").joinpath("moving/schema.sql").read_bytes()


def read(connection: Connection[Any]) -> Journal | None:
    """The row of the journal, or None."""
    if connection.execute(EXISTS).fetchone() != (True,):
        return None
    with connection.cursor(row_factory=class_row(Journal)) as cursor:
        return cursor.execute(READ).fetchone()


def read_from(conninfo: str, schema: str) -> Journal | None:
    """The row of the journal in a database, or None.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        return read(connection)


def begin(connection: Connection[Any], move: str, step: str, target: str, *, follow: bool) -> None:
    """Write the row of a new move, in place of that of a former one."""
    connection.execute(BEGIN, (move, step, target, follow))


def note(connection: Connection[Any], move: str, step: str) -> None:
    """Store a step as the last one that is done."""
    connection.execute(NOTE, (step, move))


def forget(connection: Connection[Any], move: str) -> None:
    """Delete the row of a move."""
    connection.execute(FORGET, (move,))


def location_of(conninfo: str) -> str:
    """The host, port and database of a connection string, without user and password, so that it may be shown."""
    parts = conninfo_to_dict(conninfo)
    return make_conninfo("", **{key: parts[key] for key in LOCATION if parts.get(key)})


def conninfo_at(conninfo: str, location: str) -> str:
    """A connection string for another location, with the same user and password."""
    own = {key: value for key, value in conninfo_to_dict(conninfo).items() if key not in OF_HOST}
    return make_conninfo("", **{**own, **conninfo_to_dict(location)})
