"""Which log there is, if any: an id that a restore renews."""

from __future__ import annotations

from domain.eventlog.sessions import connect, program


def log_exists(conninfo: str, schema: str) -> bool:
    """Whether there is a log in this schema.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        found = connection.execute("SELECT to_regclass(%s)", (f"{schema}.events",)).fetchone()
        return found != (None,)


def log_id(conninfo: str, schema: str) -> str:
    """Which log there is in this schema: a random id, another one after a restore.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        [made] = connection.execute("SELECT log_id FROM head").fetchone() or [""]
        return str(made)


def is_served(conninfo: str, schema: str) -> bool:
    """Whether a server runs on the log.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        sessions = """SELECT FROM pg_stat_activity WHERE application_name = %s
            AND datname = current_database()"""
        return connection.execute(sessions, (program(schema),)).fetchone() is not None


def renew_log_id(conninfo: str, schema: str) -> str:
    """Give the log another id, and return it. No server may run on it: it would go on with the old one.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, schema) as connection:
        connection.execute("UPDATE head SET log_id = gen_random_uuid()")
    return log_id(conninfo, schema)
