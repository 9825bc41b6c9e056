"""The role that serves a log, apart from the owner of its tables."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier, Literal

from domain.eventlog.sessions import connect, session

GRANTED = """SELECT bool_and(has_table_privilege(role, c.oid, 'INSERT')
            = (relname NOT IN ('log_move', 'event_archives', 'event_archive_streams'))
        AND has_table_privilege(role, c.oid, 'UPDATE') = (relname NOT IN
            ('events', 'access_log', 'log_move', 'event_archives', 'event_archive_streams'))
        AND (current_setting('server_version_num')::integer < 170000 OR relname <> 'data_keys'
            OR has_table_privilege(role, c.oid, 'MAINTAIN')))
    FROM pg_class AS c, CAST(%s AS text) AS role
    WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p')"""
GRANT = SQL("""
    GRANT USAGE ON SCHEMA {schema} TO {role};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role};
    REVOKE UPDATE, DELETE ON {schema}.events, {schema}.access_log FROM {role};
    REVOKE INSERT, UPDATE, DELETE
        ON {schema}.log_move, {schema}.event_archives, {schema}.event_archive_streams FROM {role};
    DO $$ BEGIN
        IF current_setting('server_version_num')::integer >= 170000 THEN
            GRANT MAINTAIN ON {schema}.data_keys TO {role};
        END IF;
    END $$;
    ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
    ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO {role};
    ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO {role};
""")


def make_role(conninfo: str, role: str, password: str) -> None:
    """Make the role that serves a log, if it is missing, and set its password.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with connect(conninfo, "public") as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"role {role}",))
        known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
        change = SQL("CREATE" if known is None else "ALTER")
        words = change, Identifier(role), Literal(password)
        connection.execute(SQL("{} ROLE {} LOGIN PASSWORD {}").format(*words))


def grant(database: str | Connection[Any], schema: str, role: str) -> None:
    """Let a role read and write the tables of a log, and those that later rebuilds make. It may only read and insert events
    and entries of the access log, and only read the journal of a move and the tables of archived events.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with session(database, schema) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
        if connection.execute(GRANTED, (role, schema)).fetchone() != (True,):
            words = {"schema": Identifier(schema), "role": Identifier(role)}
            connection.execute(GRANT.format(**words))
