"""The requirements of a move, checked before anything is changed; each unmet one is reported with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection

from domain.eventlog.moving.tables import MovedTable


class Requirement(NamedTuple):
    """A query that returns whether a requirement is met, and the text for the operator where it is not."""

    query: LiteralString
    otherwise: str


OF_BOTH = (
    Requirement(
        "SELECT current_setting('server_version_num')::integer >= 150000",
        "the {which} database has a PostgreSQL before 15: upgrade it first",
    ),
    Requirement(
        "SELECT NOT pg_is_in_recovery()",
        "the {which} database is a standby: name the primary",
    ),
    Requirement(
        "SELECT has_database_privilege(current_database(), 'CREATE')",
        "the user of the {which} database may make nothing in it: GRANT CREATE ON DATABASE … TO …",
    ),
)
OF_OLD = (
    Requirement(
        "SELECT current_setting('wal_level') = 'logical'",
        "wal_level of the {which} database is not logical: set it so in its postgresql.conf, and restart it",
    ),
    Requirement(
        "SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user",
        "the user of the {which} database may not replicate: ALTER ROLE … REPLICATION",
    ),
    Requirement(
        """SELECT coalesce(bool_and(pg_has_role(relowner, 'USAGE')), true) FROM pg_class
            WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind IN ('r', 'p')""",
        "the user of the {which} database does not own the tables: name the owner in EXECUTIONS_DATABASE_OWNER_URL",
    ),
    Requirement(
        """SELECT current_setting('max_replication_slots')::integer
            >= 3 + (SELECT count(*) FROM pg_replication_slots)""",
        "the {which} database has fewer than 3 free replication slots: raise max_replication_slots",
    ),
    Requirement(
        """SELECT current_setting('max_wal_senders')::integer
            >= 3 + (SELECT count(*) FROM pg_stat_replication)""",
        "the {which} database has fewer than 3 free senders: raise max_wal_senders",
    ),
)
OF_NEW = (
    Requirement(
        "SELECT to_regnamespace(%(schema)s) IS NULL",
        "the {which} database has a schema {schema} already: name another database, or drop what is there",
    ),
    Requirement(
        """SELECT rolsuper OR EXISTS (SELECT FROM pg_roles AS r
                WHERE r.rolname = 'pg_create_subscription' AND pg_has_role(r.oid, 'USAGE'))
            FROM pg_roles WHERE rolname = current_user""",
        "the user of the {which} database may not subscribe: GRANT pg_create_subscription TO …, or, before PostgreSQL 16, "
        "use a superuser",
    ),
    Requirement(
        "SELECT current_setting('max_logical_replication_workers')::integer >= 2",
        "the {which} database allows fewer than 2 workers: raise max_logical_replication_workers",
    ),
    Requirement(
        "SELECT %(role)s::text IS NULL OR EXISTS (SELECT FROM pg_roles WHERE rolname = %(role)s AND rolcanlogin)",
        "the {which} database lacks the role {role} of the servers: CREATE ROLE {role} LOGIN PASSWORD …, with the password "
        "that it has in the old one",
    ),
)
IDENTITY = """SELECT concat_ws('/', system_identifier, pg_postmaster_start_time(), current_database())
    FROM pg_control_system()"""
ENCODING = (
    "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
)


def of_old(old: Connection[Any], schema: str, found: Iterable[MovedTable]) -> Iterator[str]:
    """The unmet requirements of the old database and of its tables."""
    yield from _unmet(old, (*OF_BOTH, *OF_OLD), which="old", schema=schema)
    for table in found:
        if not table.replicable:
            yield (
                f"the table {table.name} has no primary key, so it is unknown which row a change is of: give it one, "
                "or drop it"
            )


def of_new(new: Connection[Any], schema: str, role: str | None) -> Iterator[str]:
    """The unmet requirements of the new database; `role` is the role of the servers, if it is not the owner."""
    yield from _unmet(new, (*OF_BOTH, *OF_NEW), which="new", schema=schema, role=role)


def of_both(old: Connection[Any], new: Connection[Any], role: str | None) -> Iterator[str]:
    """The unmet requirements that concern both databases together."""
    if role is None and old.info.user != new.info.user:
        yield (
            f"servers come as {old.info.user}, who owns the tables in the old database, so --to must be of that user, too"
        )
    if _answer(old, IDENTITY) == _answer(new, IDENTITY):
        yield "both are the same database"
    if new.info.server_version // 10_000 < old.info.server_version // 10_000:
        yield "the new database has an older PostgreSQL than the old one: upgrade it first"
    if (encoding := _answer(new, ENCODING)) != (wanted := _answer(old, ENCODING)):
        yield f"the new database has the encoding {encoding}, not {wanted}: make a database with the right one"


def _unmet(
    connection: Connection[Any], wanted: Iterable[Requirement], **values: str | None
) -> Iterator[str]:
    for query, otherwise in wanted:
        if _answer(connection, query, values) is not True:
            yield otherwise.format(**values)


def _answer(
    connection: Connection[Any], query: LiteralString, values: dict[str, str | None] | None = None
) -> Any:
    [found] = connection.execute(query, values).fetchone() or [None]
    return found
