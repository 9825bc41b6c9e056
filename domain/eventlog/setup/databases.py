"""The databases of one PostgreSQL server that hold logs."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import DuplicateDatabase
from psycopg.sql import SQL, Identifier

from domain.errors import Overloaded
from domain.eventlog.sessions import connect

DATABASES = """SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate
    AND has_database_privilege(datname, 'CONNECT') ORDER BY datname"""
OTHER_SCHEMAS = r"""SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> ALL(ARRAY[%s, 'information_schema'])
        AND n.nspname NOT LIKE 'pg\_%%' LIMIT 1"""
COLUMN = """SELECT FROM information_schema.columns
    WHERE table_schema = %s AND table_name = 'head' AND column_name = 'log_name'"""
SECRETS = frozenset(
    {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
)
"""Parameters of a connection string that must not be shown."""
LOG = """SELECT log_name, position, at, pg_database_size(current_database()) FROM head"""


class FoundLog(NamedTuple):
    """A log: its name, if it has one, its database, the position and time of its last event, and the bytes of the whole
    database.
    """

    name: str | None
    database: str
    position: int
    at: datetime
    size: int


def database_of(name: str) -> str:
    """The name of the database for a log with this name."""
    return f"executions_{name.replace('-', '_')}"


def database_in(conninfo: str) -> str:
    """The name of the database in a connection string; '' where it names none."""
    return str(conninfo_to_dict(conninfo).get("dbname") or "")


def in_database(conninfo: str, database: str) -> str:
    """The connection string with another database."""
    return make_conninfo(conninfo, dbname=database)


def databases_with_log(conninfo: str, schema: str, name: str) -> list[str]:
    """The connection strings of the databases of a server that have a log of this name. Only the database of `conninfo`, if
    it has the log; otherwise there may be two while a log is moved, and afterwards.

    Raises:
        Overloaded: the server cannot be reached.
    """
    names = [log.database for log in logs_on(conninfo, schema) if log.name == name]
    own = [each for each in names if each == database_in(conninfo)]
    return [in_database(conninfo, each) for each in own or names]


def names_database(conninfo: str) -> bool:
    """Whether a text is a connection string that names a database."""
    try:
        return bool(database_in(conninfo))
    except psycopg.ProgrammingError:
        return False


def same_database(conninfo: str, other: str) -> str:
    """The connection string with the database of another one."""
    return in_database(conninfo, database_in(other))


def without_secrets(conninfo: str) -> str:
    """The connection string without its secrets, so that it may be shown."""
    parts = {key: part for key, part in conninfo_to_dict(conninfo).items() if key not in SECRETS}
    return make_conninfo("", **parts)


def make_database(conninfo: str, database: str) -> bool:
    """Make a database on the server; return False where it exists already.

    Raises:
        Overloaded: the server cannot be reached, or the user may not make databases.
    """
    try:
        with connect(conninfo, "public") as connection:
            connection.autocommit = True
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(database)))
    except DuplicateDatabase:
        return False
    except psycopg.Error as error:
        raise Overloaded(f"The database {database} cannot be made: {error}".strip()) from error
    return True


def drop_log(conninfo: str, schema: str, maintenance: str) -> str:
    """Drop the database of a log over a connection to the database of `maintenance`, or only the schema of the log, if the
    database has other tables or is that of `maintenance`. Return what was dropped.

    Raises:
        Overloaded: the server cannot be reached, the user may not drop it, or others are connected.
    """
    database = database_in(conninfo)
    try:
        with connect(conninfo, "public") as connection:
            shared = connection.execute(OTHER_SCHEMAS, (schema,)).fetchone() is not None
            if shared or database_in(maintenance) == database:
                connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))
                return f"the schema {schema} of the database {database}"
        with connect(maintenance, "public") as connection:
            connection.autocommit = True
            connection.execute(SQL("DROP DATABASE {}").format(Identifier(database)))
    except psycopg.Error as error:
        raise Overloaded(f"{database} cannot be dropped: {error}".strip()) from error
    return f"the database {database}"


def logs_on(conninfo: str, schema: str) -> list[FoundLog]:
    """The logs in this schema of all databases of a server that the user may read.

    Raises:
        Overloaded: the server cannot be reached.
    """
    with connect(conninfo, "public") as connection:
        names = [name for (name,) in connection.execute(DATABASES).fetchall()]
    found = (_log_in(in_database(conninfo, name), name, schema) for name in names)
    return [log for log in found if log is not None]


def log_at(conninfo: str, schema: str) -> FoundLog | None:
    """The log in a schema of the database of a connection string; None where there is none."""
    return _log_in(conninfo, database_in(conninfo), schema)


def _log_in(conninfo: str, database: str, schema: str) -> FoundLog | None:
    try:
        with connect(conninfo, schema) as connection:
            if connection.execute(COLUMN, (schema,)).fetchone() is None:
                return None
            row = connection.execute(LOG).fetchone()
    except (Overloaded, psycopg.errors.InsufficientPrivilege):
        return None
    return None if row is None else FoundLog(row[0], database, *row[1:])
