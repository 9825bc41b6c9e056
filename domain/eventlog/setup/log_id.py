"""The id of a log, which is renewed after a restore; whether there is a log, and whether it is served."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from domain.eventlog.sessions import connect, program, session

SERVED = """SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = %s
        AND datname = current_database())
    OR EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = hashtext('all work of ' || %s)::bigint & 4294967295
        AND objid::bigint = hashtext('all work')::bigint & 4294967295)"""


def log_exists(conninfo: str, schema: str) -> bool:
    """Whether there is a log in this schema.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        found = connection.execute("SELECT to_regclass(%s)", (f"{schema}.events",)).fetchone()
        return found != (None,)


def log_id(database: str | Connection[Any], schema: str) -> str:
    """The id of the log in this schema: random, and another one after a restore.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with session(database, schema) as connection:
        [found] = connection.execute("SELECT log_id FROM head").fetchone() or [""]
        return str(found)


def is_served(conninfo: str, schema: str) -> bool:
    """Whether a server or a work process is running for the log, for it alone or for several logs.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        return connection.execute(SERVED, (program(schema), schema)).fetchone() == (True,)


def renew_log_id(conninfo: str, schema: str) -> str:
    """Give the log a new id, and return it. No server may be running, as it would continue with the old id.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        connection.execute("UPDATE head SET log_id = gen_random_uuid()")
    return log_id(conninfo, schema)
