"""The fence around a log that is moved: once it is closed, no statement of any process changes a row in its schema, even in a
transaction that was open before.

The fence is a trigger on each table, so it also holds for programs without code for it, and for those that reconnect or
resume late. It opens by itself after some seconds, unless it is sealed: if the program that moves the log dies, the old
database accepts commands again.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic, sleep
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from domain.errors import Overloaded
from domain.eventlog.moving.locking import execute_with_retries

BUILD = SQL(
    """CREATE OR REPLACE TRIGGER log_move BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_while_fenced()"""
)
REMOVE = SQL("DROP TRIGGER IF EXISTS log_move ON {}")
CLOSE = """UPDATE log_move SET fenced_until = clock_timestamp() + make_interval(secs => %s)
    WHERE id = %s"""
CLOSE_FOR_GOOD = "UPDATE log_move SET fenced_until = 'infinity' WHERE id = %s"
LIFT = "UPDATE log_move SET fenced_until = NULL WHERE id = %s"
NOBODY_WRITES = "SELECT pg_try_advisory_xact_lock(hashtext('fence ' || current_schema()))"
LOCK = "SELECT pg_advisory_xact_lock(hashtext('fence ' || current_schema()))"
SEAL = f"{CLOSE_FOR_GOOD} AND clock_timestamp() < fenced_until"
LOOK_EVERY = 0.002
"""Seconds between two checks whether a transaction still writes."""
BEING_MOVED = "The log is being moved to another database. Start again in a moment."
IS_CLOSED = "SELECT FROM log_move WHERE clock_timestamp() < fenced_until"


class StillWriting(Exception):
    """A transaction that writes does not end in time."""


class Expired(Exception):
    """The fence has opened by itself: commands may have been recorded since."""


def build(connection: Connection[Any], tables: Iterable[str]) -> None:
    """Put an open fence around these tables. Writers wait only for moments."""
    execute_with_retries(connection, (BUILD.format(Identifier(table)) for table in tables))


def remove(connection: Connection[Any], tables: Iterable[str]) -> None:
    """Remove the fence from these tables."""
    execute_with_retries(connection, (REMOVE.format(Identifier(table)) for table in tables))


def close(connection: Connection[Any], move: str, seconds: float, timeout: float) -> None:
    """Close the fence for so many seconds; return once no transaction that has written is open.

    Raises:
        StillWriting: such a transaction is open after `timeout` seconds; the fence is open again.
    """
    connection.execute(CLOSE, (seconds, move))
    deadline = monotonic() + timeout
    while connection.execute(NOBODY_WRITES).fetchone() != (True,):
        if monotonic() > deadline:
            lift(connection, move)
            raise StillWriting
        sleep(LOOK_EVERY)


def seal(connection: Connection[Any], move: str) -> None:
    """Close the fence for good, if it has been closed without interruption.

    Raises:
        Expired: the fence has opened by itself.
    """
    with connection.transaction():
        connection.execute(LOCK)  # a transaction that writes since the fence has opened holds it
        if connection.execute(SEAL, (move,)).rowcount != 1:
            raise Expired


def close_for_good(connection: Connection[Any], move: str) -> None:
    """Close the fence of a new database for good, before anything was written there."""
    connection.execute(CLOSE_FOR_GOOD, (move,))


def lift(connection: Connection[Any], move: str) -> bool:
    """Open the fence; return whether this database has a row of the move."""
    return connection.execute(LIFT, (move,)).rowcount == 1


def require_open(connection: Connection[Any]) -> None:
    """Check that the log is not being moved: its closed fence would refuse even a migration.

    Raises:
        Overloaded: it is being moved.
    """
    found = connection.execute("SELECT to_regclass('log_move')").fetchone()
    if found != (None,) and connection.execute(IS_CLOSED).fetchone() is not None:
        raise Overloaded(BEING_MOVED)
