"""Statements that change tables while they are used: each waits for moments only, as all who come later wait behind it."""

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
"""Longer, together, than a session may be idle in a transaction."""
SET = SQL("SET lock_timeout = {}")


def execute_with_retries(connection: Connection[Any], statements: Iterable[Composed]) -> None:
    """Execute each, in a transaction of its own, again and again until it gets its lock at once.

    Raises:
        LockNotAvailable: one has not got it for long.
    """
    with lock_timeout(connection, SHORT):
        for statement in statements:
            _execute(connection, statement)


def _execute(connection: Connection[Any], statement: Composed) -> None:
    for tried in range(1, TRIES + 1):
        try:
            connection.execute(statement)
        except LockNotAvailable:
            if tried == TRIES:
                raise
            sleep(PAUSE)
        else:
            return


@contextmanager
def lock_timeout(connection: Connection[Any], timeout: str) -> Iterator[None]:
    """Wait so long for a lock while the block runs."""
    connection.execute(SET.format(Literal(timeout)))
    try:
        yield
    finally:
        connection.execute(SET.format(Literal(USUAL)))
