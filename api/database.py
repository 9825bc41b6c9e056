"""The database of a log: that of a data directory, or one of your own, wherever the log has moved."""

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
"""The role that serves from an embedded database: it owns nothing, and can change no event."""


class Database(NamedTuple):
    """The connection strings of the owner of the log and of the role that serves it, which are the same
    where a database of one's own has one user, and the server where it is our own.
    """

    owner: str
    serving: str
    postgres: EmbeddedPostgres | None = None
    before: tuple[str, str] | None = None
    """Those two, as the settings have them, where the log has moved."""

    @property
    def as_named(self) -> Database:
        """As the settings name it: where its log moves, other logs stay there."""
        return self if self.before is None else Database(*self.before, self.postgres)

    def locate(self, schema: str) -> Database:
        """The same, where the log has moved to; the one that is our own does not follow it there."""
        if self.postgres is not None:
            return self
        owner, serving = locate(self.owner, schema, self.serving)
        if (owner, serving) == self[:2]:
            return self
        return Database(owner, serving, before=self.before or self[:2])

    def prepare(self, schema: str, *, begin_again: bool = True) -> None:
        """Make what is missing, and let the serving role use it; `begin_again` as for `migrate`.

        Raises:
            Overloaded: the database cannot be reached.
        """
        if self.postgres is not None:
            make_role(self.owner, SERVING, self.postgres.password(SERVING))
        prepare_tables(self.owner, self.serving, schema, begin_again=begin_again)

    def prepare_for(self, schema: str, role: str | None) -> None:
        """The same for a role that serves, where that is not the owner's; it need not be able to come in yet.

        Raises:
            Overloaded: the database cannot be reached.
        """
        prepare_tables_for(self.owner, role, schema)


@contextmanager
def database(settings: Settings, folder: DataDir) -> Iterator[Database]:
    """The database of the log, where it is by now.

    Raises:
        SetupError: it is our own, and there is none that could be started.
    """
    with open_database(settings, folder) as known:
        yield known.locate(settings.schema)


@contextmanager
def open_database(settings: Settings, folder: DataDir) -> Iterator[Database]:
    """The database that the settings name, wherever the log has moved.

    Raises:
        SetupError: as `database`.
    """
    if settings.database_url is not None:
        yield Database(settings.database_owner_url or settings.database_url, settings.database_url)
        return
    if not (folder.may_make or folder.has_database):
        raise folder.missing()
    with EmbeddedPostgres(folder.postgres) as postgres:
        yield Database(postgres.conninfo(), postgres.conninfo(user=SERVING), postgres)


def keep_running(postgres: EmbeddedPostgres | None) -> str | None:
    """Start our own PostgreSQL again if it is gone; by the main thread, which alone may start it.

    Returns why its disk is full, where it is.
    """
    if postgres is None:
        return None
    full = postgres.look_after_disk()
    try:
        if postgres.ensure_running():
            log.warning("postgres is gone, and starts again")
    except (PostgresError, OSError, MemoryError) as error:
        log.error("postgres cannot start", reason=str(error) or repr(error))
    return full
