"""Makes the tables of a log, its projections and its proofs, and grants the serving role its rights."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

from psycopg import Connection

from domain import registry
from domain.eventlog.encryption import Vault
from domain.eventlog.migrations import migrate_log, settle_master_key
from domain.eventlog.moving.log_location import locate
from domain.eventlog.sessions import connect, user_of
from domain.eventlog.setup.log_id import log_id
from domain.eventlog.setup.log_name import settle_log_name
from domain.eventlog.setup.log_secret import LogKeys, log_secret
from domain.eventlog.setup.roles import grant
from projections.audit.tables import migrate_audit
from projections.engine.migrations import migrate_projections
from projections.registry import all_projections


class ReadyLog(NamedTuple):
    """How a log is reached where it is by now, its keys, and its id."""

    conninfo: str
    keys: LogKeys
    of_log: str


def migrate(database: str | Connection[Any], schema: str, *, begin_again: bool = True) -> None:
    """Create what is missing in the database; safe to run at every start, by many at once.

    `begin_again`: see `migrate_projections`.
    """
    migrate_log(database, schema)
    views = all_projections(registry.codec())
    migrate_projections(database, schema, views, begin_again=begin_again)
    migrate_audit(database, schema)


def prepare_tables(owner: str, serving: str, schema: str, *, begin_again: bool = True) -> None:
    """The same as the `owner` of the tables, where another user is `serving` the log.

    Raises:
        Overloaded: the database cannot be reached.
    """
    role = None if serving == owner else user_of(serving)
    prepare_tables_for(owner, role, schema, begin_again=begin_again)


def prepare_tables_for(
    owner: str | Connection[Any], role: str | None, schema: str, *, begin_again: bool = True
) -> None:
    """The same where a role serves the log, if that is not the owner's; it need not be able to come in yet.

    Raises:
        Overloaded: the database cannot be reached.
    """
    migrate(owner, schema, begin_again=begin_again)
    if role is not None:
        grant(owner, schema, role)


def make_ready(owner: str, serving: str, schema: str, name: str, master_key: bytes) -> ReadyLog:
    """Make what is missing of a log with a name, where it is by now: by one connection where one user owns and serves
    it in the place that is named, else by two in the place where it is.

    Raises:
        Overloaded: the database cannot be reached.
        DomainError: the log has another master key.
        OtherName: it has another name.
    """
    with connect(owner, schema) as connection:
        there, by = locate(owner, schema, serving, connection=connection)
        if (there, by) == (owner, serving):
            return _make_ready(connection, (there, by), schema, name, master_key)
    with connect(there, schema) as connection:
        return _make_ready(connection, (there, by), schema, name, master_key)


def _make_ready(
    owning: Connection[Any], users: tuple[str, str], schema: str, name: str, master_key: bytes
) -> ReadyLog:
    owner, serving = users
    with nullcontext(owning) if owner == serving else connect(serving, schema) as connection:
        role = None if connection is owning else connection.info.user
        prepare_tables_for(owning, role, schema)
        settle_master_key(connection, schema, lambda: master_key, lambda: master_key)
        settle_log_name(connection, schema, name)
        keys = LogKeys(master_key, log_secret(connection, schema, Vault(master_key)))
        return ReadyLog(serving, keys, log_id(connection, schema))
