"""The row that says in both databases how far the move of a log is."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row

from domain.eventlog.sessions import connect

EXISTS = "SELECT to_regclass('log_move') IS NOT NULL"
READ = "SELECT id, step, target, fenced_until IS NOT NULL AS closed, moved, follow FROM log_move"
BEGIN = """INSERT INTO log_move (id, step, target, follow) VALUES (%s, %s, %s, %s)
    ON CONFLICT (single) DO UPDATE SET id = excluded.id, step = excluded.step, target = excluded.target,
        fenced_until = NULL, moved = false, follow = excluded.follow"""
NOTE = "UPDATE log_move SET step = %s WHERE id = %s"
FORGET = "DELETE FROM log_move WHERE id = %s"
LOCATION = ("host", "hostaddr", "port", "dbname")
"""Where a database is, of what a connection string says."""
OF_HOST = (*LOCATION, "service", "target_session_attrs", "load_balance_hosts")
"""Parameters of a connection string that say nothing about another database."""


class Journal(NamedTuple):
    """How far a move is: its id, the last step that is done, the location it goes to, whether the fence is closed or was
    closed for a while, whether the log is at the target now, and whether servers go there by themselves.
    """

    id: str
    step: str
    target: str
    closed: bool
    moved: bool
    follow: bool


def schema() -> bytes:
    """What makes the table of the row."""
    return files("domain.eventlog").joinpath("moving/schema.sql").read_bytes()


def read(connection: Connection[Any]) -> Journal | None:
    """What the row says; None where there is none."""
    if connection.execute(EXISTS).fetchone() != (True,):
        return None
    with connection.cursor(row_factory=class_row(Journal)) as cursor:
        return cursor.execute(READ).fetchone()


def read_from(conninfo: str, schema: str) -> Journal | None:
    """What the row says in a database.

    Raises:
        Overloaded: it cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        return read(connection)


def begin(connection: Connection[Any], move: str, step: str, target: str, *, follow: bool) -> None:
    """A move begins here; what was of a former one is replaced."""
    connection.execute(BEGIN, (move, step, target, follow))


def note(connection: Connection[Any], move: str, step: str) -> None:
    """A step is done."""
    connection.execute(NOTE, (step, move))


def forget(connection: Connection[Any], move: str) -> None:
    """There was no such move."""
    connection.execute(FORGET, (move,))


def location_of(conninfo: str) -> str:
    """Host, port and database of a connection string: what others may read."""
    parts = conninfo_to_dict(conninfo)
    return make_conninfo("", **{key: parts[key] for key in LOCATION if parts.get(key)})


def conninfo_at(conninfo: str, location: str) -> str:
    """The connection string of the same user, with the same password, at another location."""
    own = {key: value for key, value in conninfo_to_dict(conninfo).items() if key not in OF_HOST}
    return make_conninfo("", **{**own, **conninfo_to_dict(location)})
