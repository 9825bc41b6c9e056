"""Sessions of the database of a log: their settings, and the environment of other programs that use the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import Conninfo

from domain.errors import Overloaded
from domain.eventlog.connection.timeouts import OUTAGES, with_keepalives

KEEPALIVE = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
"""Options of sessions that hold a lock: the server ends a session within seconds after its client is lost."""
ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""Begins a transaction in which all statements see the same data."""
SERIAL = "-c max_parallel_workers_per_gather=0 -c jit=off"
"""Options of sessions with short statements, which have no parallel workers and are not compiled."""


def session_options(schema: str) -> str:
    """The options of every session: its schema, UTC, and time limits for waiting on locks and for idle transactions."""
    return (
        f"-c search_path={schema} -c timezone=UTC -c lock_timeout=5s"
        " -c idle_in_transaction_session_timeout=10s"
    )


def program(schema: str) -> str:
    """The `application_name` of the sessions of servers of a log."""
    return f"executions {schema}"


def connect(conninfo: str, schema: str) -> psycopg.Connection:
    """Connect to the database of a log.

    Raises:
        Overloaded: the database cannot be reached.
    """
    try:
        return psycopg.connect(
            with_keepalives(conninfo), options=session_options(schema), connect_timeout=10
        )
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise Overloaded(f"The database cannot be reached: {error}".strip()) from error


@contextmanager
def session(
    database: str | psycopg.Connection[Any], schema: str
) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a log for the block, which is committed at its end. A connection string opens a new one; a given
    connection stays open, and must not be used after an error.

    Raises:
        Overloaded: the database cannot be reached, or, with a connection string, went away or was busy meanwhile.
    """
    if isinstance(database, str):
        try:
            with connect(database, schema) as connection:
                yield connection
        except OUTAGES as error:
            raise Overloaded(f"The database is unavailable or busy: {error}".strip()) from error
    else:
        yield database
        database.commit()


def user_of(conninfo: str) -> str:
    """The database user of a connection string.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, "public") as connection:
        return connection.info.user


def variables(conninfo: str, schema: str) -> dict[str, str]:
    """The environment variables by which programs of PostgreSQL connect to the log.

    They may hold a password, so they must not be on a command line, which every user of the machine can read.
    """
    environment = {
        option.envvar.decode(): option.val.decode()
        for option in Conninfo.parse(conninfo.encode())
        if option.envvar and option.val
    }
    options = f"{environment.get('PGOPTIONS', '')} -c search_path={schema}".strip()
    return {**environment, "PGOPTIONS": options}
