"""Sessions with the log's database: their settings, and how other programs find it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import Conninfo

from domain.errors import Overloaded

KEEPALIVE = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
"""For connections that hold a lock: one whose client has vanished is lost within seconds."""


def session_options(schema: str) -> str:
    """The settings of every session: its schema, UTC, and no wait without an end."""
    return (
        f"-c search_path={schema} -c timezone=UTC -c lock_timeout=5s"
        " -c idle_in_transaction_session_timeout=10s"
    )


def program(schema: str) -> str:
    """What the sessions of servers call themselves (`application_name`)."""
    return f"executions {schema}"


def connect(conninfo: str, schema: str) -> psycopg.Connection:
    try:
        return psycopg.connect(conninfo, options=session_options(schema), connect_timeout=10)
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise Overloaded(f"The database cannot be reached: {error}".strip()) from error


@contextmanager
def session(
    database: str | psycopg.Connection[Any], schema: str
) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a log for the block, which commits at its end: a new one, or the one that is given, which stays
    open. One that is given is of no use after an error.

    Raises:
        Overloaded: the database cannot be reached.
    """
    if isinstance(database, str):
        with connect(database, schema) as connection:
            yield connection
    else:
        yield database
        database.commit()


def user_of(conninfo: str) -> str:
    """The user of a connection string, as the database knows it.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, "public") as connection:
        return connection.info.user


def variables(conninfo: str, schema: str) -> dict[str, str]:
    """The environment in which PostgreSQL's own programs find the log.

    Not their command line: that is shown to every user of the machine, and a password is in here.
    """
    environment = {
        option.envvar.decode(): option.val.decode()
        for option in Conninfo.parse(conninfo.encode())
        if option.envvar and option.val
    }
    options = f"{environment.get('PGOPTIONS', '')} -c search_path={schema}".strip()
    return {**environment, "PGOPTIONS": options}
