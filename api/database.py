"""The database of a log: embedded in the data directory, or an external one, and where the log has moved to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from api.embedded_postgres.cluster import PostgresError
from api.embedded_postgres.data_dir import DataDir
from api.embedded_postgres.server import EmbeddedPostgres
from api.settings import Settings
from domain.eventlog.moving.log_location import locate
from domain.eventlog.setup.roles import make_role
from projections.preparation import prepare_tables, prepare_tables_for

log = structlog.get_logger()

SERVING = "server"
"""The role that serves from an embedded database: it owns no tables, and cannot change events."""


class Database(NamedTuple):
    """The connection strings of the owner of the tables and of the serving role, which are the same where an external
    database has one user; and the PostgreSQL server, where it is the embedded one.
    """

    owner: str
    serving: str
    postgres: EmbeddedPostgres | None = None
    before: tuple[str, str] | None = None
    """The connection strings of the settings, where the log has moved."""

    @property
    def as_named(self) -> Database:
        """The database of the settings, in which other logs stay when this one moves."""
        return self if self.before is None else Database(*self.before, self.postgres)

    def locate(self, schema: str) -> Database:
        """The database that the log has moved to; a log cannot leave the embedded database."""
        if self.postgres is not None:
            return self
        owner, serving = locate(self.owner, schema, self.serving)
        if (owner, serving) == self[:2]:
            return self
        return Database(owner, serving, before=self.before or self[:2])

    def prepare(self, schema: str, *, begin_again: bool = True) -> None:
        """Make missing tables, and grant the serving role access to them; `begin_again` as in `migrate`.

        Raises:
            Overloaded: the database is unavailable.
        """
        if self.postgres is not None:
            make_role(self.owner, SERVING, self.postgres.password(SERVING))
        prepare_tables(self.owner, self.serving, schema, begin_again=begin_again)

    def prepare_for(self, schema: str, role: str | None) -> None:
        """Make missing tables, and grant a role access to them, which need not be able to connect yet; None for the owner.

        Raises:
            Overloaded: the database is unavailable.
        """
        prepare_tables_for(self.owner, role, schema)


@contextmanager
def database(settings: Settings, folder: DataDir) -> Iterator[Database]:
    """The database that the log is in now, while the block runs.

    Raises:
        SetupError: the data directory has no embedded database that could be started.
    """
    with open_database(settings, folder) as known:
        yield known.locate(settings.schema)


@contextmanager
def open_database(settings: Settings, folder: DataDir) -> Iterator[Database]:
    """The database of the settings, even where the log has moved, while the block runs.

    Raises:
        SetupError: the data directory has no embedded database that could be started.
    """
    if settings.database_url is not None:
        yield Database(settings.database_owner_url or settings.database_url, settings.database_url)
        return
    if not (folder.may_make or folder.has_database):
        raise folder.missing()
    with EmbeddedPostgres(folder.postgres) as postgres:
        yield Database(postgres.conninfo(), postgres.conninfo(user=SERVING), postgres)


def keep_running(postgres: EmbeddedPostgres | None) -> str | None:
    """Restart the embedded PostgreSQL if it has ended. Only the main thread may call this, as it started it.

    Return why the disk of the database is full; None where it is not.
    """
    if postgres is None:
        return None
    full = postgres.look_after_disk()
    try:
        if postgres.ensure_running():
            log.warning("postgres has ended, and is started again")
    except (PostgresError, OSError, MemoryError) as error:
        log.error("postgres cannot start", reason=str(error) or repr(error))
    return full
