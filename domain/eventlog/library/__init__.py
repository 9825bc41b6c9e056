"""The log as a persistence module of the library `eventsourcing`: `PERSISTENCE_MODULE=domain.eventlog.library`.

The columns are the library's, a position is its notification id, and one log is one schema. Two things differ. The row
`head` is both lock and counter, where the library takes a table lock and a sequence: so positions have no holes, even after
a conflict. And a subscription listens before it reads, and also polls: so no event is delayed until the next one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

# Modules, not classes: the library uses any factory class that it finds in this module.
from eventsourcing import persistence, postgres
from eventsourcing.utils import Environment, EnvType, strtobool
from psycopg.conninfo import conninfo_to_dict

from domain.eventlog.library.recorders import (
    LogProcessRecorder,
    LogRecorder,
    LogTrackingRecorder,
    SnapshotRecorder,
)
from domain.eventlog.library.subscription import options_of
from domain.eventlog.sessions import session_options

NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
PARTS = ("dbname", "host", "port", "user", "password")


class Factory(postgres.PostgresFactory):
    """Makes the recorders of one application, from the library's own variables (`POSTGRES_…`).

    `DATABASE_URL` stands for those that say where the database is. The schema is `POSTGRES_SCHEMA`,
    else the application's name: each application has a log of its own.

    Raises:
        OSError: a variable is missing, or asks for what this log does not do.
    """

    DATABASE_URL = "DATABASE_URL"
    DEFAULTS: ClassVar[Mapping[str, str]] = {
        "POSTGRES_CONNECT_TIMEOUT": "3",  # the library tries ten times, and 30 s each by default
        "POSTGRES_IDLE_IN_TRANSACTION_SESSION_TIMEOUT": "10",
        "POSTGRES_POOL_SIZE": "1",
        "POSTGRES_MAX_OVERFLOW": "9",
    }
    REFUSED: ClassVar[Mapping[str, tuple[bool, str]]] = {
        "POSTGRES_ENABLE_DB_FUNCTIONS": (True, "they append without the lock of the log"),
        "SINGLE_ROW_TRACKING": (False, "a consumer's place is one row"),
    }

    aggregate_recorder_class = SnapshotRecorder
    application_recorder_class = LogRecorder
    tracking_recorder_class = LogTrackingRecorder
    process_recorder_class = LogProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        env = env if isinstance(env, Environment) else Environment(env=env)
        located = conninfo_to_dict(env.get(self.DATABASE_URL) or "")
        if located:
            env.update({f"POSTGRES_{part.upper()}": str(located.pop(part, "")) for part in PARTS})
        for name, value in self.DEFAULTS.items():
            if env.get(name) is None:
                env[name] = value
        for name, (refused, reason) in self.REFUSED.items():
            if (given := env.get(name)) and strtobool(given) is refused:
                raise OSError(f"{name} cannot be {given!r} with this log: {reason}")
        super().__init__(env)
        schema = self.datastore.schema if env.get(self.POSTGRES_SCHEMA) else env.name.lower()
        _set_schema(self.datastore, schema or "eventsourcing", located)

    def aggregate_recorder(self, purpose: str = "events") -> persistence.AggregateRecorder:
        if purpose == "events":
            return self.application_recorder()
        return super().aggregate_recorder(purpose)


def log_recorder(conninfo: str, schema: str) -> LogRecorder:
    """A recorder of an existing log, for callers without an environment of the library."""
    part = conninfo_to_dict(conninfo)
    datastore = postgres.PostgresDatastore(
        *(str(part.pop(name, "")) for name in PARTS),
        idle_in_transaction_session_timeout=10,
        max_overflow=9,
        connect_timeout=3,
    )
    _set_schema(datastore, schema, part)
    return LogRecorder(datastore)


def _set_schema(
    datastore: postgres.PostgresDatastore, schema: str, more: Mapping[str, Any]
) -> None:
    if not NAME.fullmatch(schema):
        raise OSError(
            f"{schema!r} cannot be the schema of a log: a to z, 0 to 9 and _ are allowed, at most 48 "
            "characters. Set POSTGRES_SCHEMA"
        )
    datastore.schema = schema
    datastore.originator_id_type = "text"
    options = session_options(schema)
    if datastore.lock_timeout:
        options += f" -c lock_timeout={datastore.lock_timeout}s"
    options_of(datastore).update(more, options=options)
