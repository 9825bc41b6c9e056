"""Makes the tables of a log, its projections and its proofs, and grants the serving role its rights."""

from __future__ import annotations

from domain import registry
from domain.eventlog.migrations import migrate_log
from domain.eventlog.sessions import user_of
from domain.eventlog.setup.roles import grant
from projections.audit.tables import migrate_audit
from projections.engine.migrations import migrate_projections
from projections.registry import all_projections


def migrate(conninfo: str, schema: str, *, begin_again: bool = True) -> None:
    """Create what is missing in the database; safe to run at every start, by many at once.

    `begin_again`: see `migrate_projections`.
    """
    migrate_log(conninfo, schema)
    views = all_projections(registry.codec())
    migrate_projections(conninfo, schema, views, begin_again=begin_again)
    migrate_audit(conninfo, schema)


def prepare_tables(owner: str, serving: str, schema: str, *, begin_again: bool = True) -> None:
    """The same as the `owner` of the tables, where another user is `serving` the log.

    Raises:
        Overloaded: the database cannot be reached.
    """
    role = None if serving == owner else user_of(serving)
    prepare_tables_for(owner, role, schema, begin_again=begin_again)


def prepare_tables_for(
    owner: str, role: str | None, schema: str, *, begin_again: bool = True
) -> None:
    """The same where a role serves the log, if that is not the owner's; it need not be able to come in yet.

    Raises:
        Overloaded: the database cannot be reached.
    """
    migrate(owner, schema, begin_again=begin_again)
    if role is not None:
        grant(owner, schema, role)
