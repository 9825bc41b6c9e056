"""Creates the tables of a log, of its projections and of its proofs, and grants the serving role its rights."""

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
    """The connection string of a log after all its moves, its keys, and its id."""

    conninfo: str
    keys: LogKeys
    of_log: str


def migrate(database: str | Connection[Any], schema: str, *, begin_again: bool = True) -> None:
    """Create the missing tables of a log. Safe to run at every start, by several processes at once.

    `begin_again`: see `migrate_projections`.
    """
    migrate_log(database, schema)
    views = all_projections(registry.codec())
    migrate_projections(database, schema, views, begin_again=begin_again)
    migrate_audit(database, schema)


def prepare_tables(owner: str, serving: str, schema: str, *, begin_again: bool = True) -> None:
    """Create the missing tables as their `owner`, and grant rights to the user of `serving` if that is another one.

    Raises:
        Overloaded: the database cannot be reached.
    """
    role = None if serving == owner else user_of(serving)
    prepare_tables_for(owner, role, schema, begin_again=begin_again)


def prepare_tables_for(
    owner: str | Connection[Any], role: str | None, schema: str, *, begin_again: bool = True
) -> None:
    """Create the missing tables as their `owner`, and grant rights to `role`, if any, which need not be able to log in yet.

    Raises:
        Overloaded: the database cannot be reached.
    """
    migrate(owner, schema, begin_again=begin_again)
    if role is not None:
        grant(owner, schema, role)


def make_ready(owner: str, serving: str, schema: str, name: str, master_key: bytes) -> ReadyLog:
    """Create the missing tables of a named log in the database to which it has moved, if it has, and return its keys.

    Uses a single connection if the log has not moved and its owner also serves it.

    Raises:
        Overloaded: the database cannot be reached.
        DomainError: the log has another master key.
        OtherName: the log has another name.
    """
    with connect(owner, schema) as connection:
        now_owner, now_serving = locate(owner, schema, serving, connection=connection)
        conninfos = now_owner, now_serving
        if conninfos == (owner, serving):
            return _make_ready(connection, conninfos, schema, name, master_key)
    with connect(now_owner, schema) as connection:
        return _make_ready(connection, conninfos, schema, name, master_key)


def _make_ready(
    owning: Connection[Any], conninfos: tuple[str, str], schema: str, name: str, master_key: bytes
) -> ReadyLog:
    owner, serving = conninfos
    with nullcontext(owning) if owner == serving else connect(serving, schema) as connection:
        role = None if connection is owning else connection.info.user
        prepare_tables_for(owning, role, schema)
        settle_master_key(connection, schema, lambda: master_key, lambda: master_key)
        settle_log_name(connection, schema, name)
        keys = LogKeys(master_key, log_secret(connection, schema, Vault(master_key)))
        return ReadyLog(serving, keys, log_id(connection, schema))
