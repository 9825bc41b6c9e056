"""The fence around a log that moves: once it is closed, no statement of any process changes anything in its schema,
whatever program that is and however long its transaction has been open.

It is a trigger on each table, which the database itself looks after, so it holds for programs that know nothing of it, for
those that connect again and for those that wake up late. It opens by itself after some seconds, unless it is sealed: where the
program that moves the log dies, commands are taken again in the old database.
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
BEING_MOVED = "The log is being moved to another database. Start again in a moment."
IS_CLOSED = "SELECT FROM log_move WHERE clock_timestamp() < fenced_until"


class StillWriting(Exception):
    """A transaction that writes does not end."""


class Expired(Exception):
    """The fence has opened by itself: commands may have been recorded since."""


def build(connection: Connection[Any], tables: Iterable[str]) -> None:
    """Put the fence around these tables, open as it is. Writers wait for moments only."""
    execute_with_retries(connection, (BUILD.format(Identifier(table)) for table in tables))


def remove(connection: Connection[Any], tables: Iterable[str]) -> None:
    """Take it away."""
    execute_with_retries(connection, (REMOVE.format(Identifier(table)) for table in tables))


def close(connection: Connection[Any], move: str, seconds: float, timeout: float) -> None:
    """Let nothing be written for so many seconds; return once no transaction that writes is open.

    Raises:
        StillWriting: one is open after `timeout`, in seconds; the fence is open again.
    """
    connection.execute(CLOSE, (seconds, move))
    deadline = monotonic() + timeout
    while connection.execute(NOBODY_WRITES).fetchone() != (True,):
        if monotonic() > deadline:
            lift(connection, move)
            raise StillWriting
        sleep(LOOK_EVERY)


def seal(connection: Connection[Any], move: str) -> None:
    """Let the fence stay closed for good, if it has been closed all the time.

    Raises:
        Expired: it has opened by itself.
    """
    with connection.transaction():
        connection.execute(LOCK)  # who writes since it has opened holds it
        if connection.execute(SEAL, (move,)).rowcount != 1:
            raise Expired


def close_for_good(connection: Connection[Any], move: str) -> None:
    """Let nothing be written where nothing was yet."""
    connection.execute(CLOSE_FOR_GOOD, (move,))


def lift(connection: Connection[Any], move: str) -> bool:
    """Open the fence; whether that move is known here."""
    return connection.execute(LIFT, (move,)).rowcount == 1


def require_open(connection: Connection[Any]) -> None:
    """Raises Overloaded where the log is being moved: it would refuse even to be looked after."""
    found = connection.execute("SELECT to_regclass('log_move')").fetchone()
    if found != (None,) and connection.execute(IS_CLOSED).fetchone() is not None:
        raise Overloaded(BEING_MOVED)
