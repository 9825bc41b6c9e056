"""Executes statements that lock tables in use: each waits only for moments, as later statements wait behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import Any

from psycopg import Connection
from psycopg.errors import LockNotAvailable
from psycopg.sql import SQL, Composed, Literal

SHORT, USUAL, LONG = "200ms", "5s", "60s"
TRIES, PAUSE = 60, 0.2
"""Tries to get a lock, and seconds between two: together longer than a session may be idle in a transaction."""
SET = SQL("SET lock_timeout = {}")


def execute_with_retries(connection: Connection[Any], statements: Iterable[Composed]) -> None:
    """Execute statements, each in a transaction of its own; a statement that does not get its lock soon is tried again.

    Raises:
        LockNotAvailable: a statement did not get its lock in `TRIES` tries.
    """
    with lock_timeout(connection, SHORT):
        for statement in statements:
            _execute(connection, statement)


def _execute(connection: Connection[Any], statement: Composed) -> None:
    for nth_try in range(1, TRIES + 1):
        try:
            connection.execute(statement)
        except LockNotAvailable:
            if nth_try == TRIES:
                raise
            sleep(PAUSE)
        else:
            return


@contextmanager
def lock_timeout(connection: Connection[Any], timeout: str) -> Iterator[None]:
    """Set the lock timeout of a session for the block."""
    connection.execute(SET.format(Literal(timeout)))
    try:
        yield
    finally:
        connection.execute(SET.format(Literal(USUAL)))
