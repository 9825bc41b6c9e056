"""Opens the log that a command names, on the PostgreSQL server of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click

from api.cells.registry import LogLocation, LogRegistry
from api.database import Database, open_database
from api.embedded_postgres.data_dir import DataDir
from api.ready_logs import database_at
from api.settings import Settings, SetupError, read
from api.telemetry.logging import configure_logging
from domain.errors import Overloaded
from domain.eventlog.setup.databases import databases_with_log, same_database


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Convert errors in the block to messages without a traceback."""
    try:
        yield
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    except Overloaded as error:
        raise click.ClickException(error.detail) from None


@contextmanager
def open_server(
    data_dir: Path | None, *, log: str | None = None
) -> Iterator[tuple[Settings, Database]]:
    """The settings and the database of the settings, while the block runs.

    Raises:
        SetupError, Overloaded: there is no database, or it is unavailable.
    """
    settings = read(data_dir=data_dir, log=log)
    configure_logging(settings.log_level)
    with open_database(settings, DataDir(settings.data_dir)) as known:
        yield settings, known


class NamedLog(NamedTuple):
    """The settings, the database of a log (`log`), the database of the settings (`named`), usually on the same server,
    and the location in the file of hosted logs, if the log is in it.
    """

    settings: Settings
    log: Database
    named: Database
    hosted: LogLocation | None = None


def read_hosted_logs(settings: Settings) -> dict[str, LogLocation]:
    """The locations of the hosted logs, by name.

    Raises:
        SetupError: the file of the logs cannot be read.
    """
    return {} if settings.logs is None else LogRegistry(settings.logs).read()


@contextmanager
def open_named_log(name: str, data_dir: Path | None) -> Iterator[NamedLog]:
    """Open the log with a name: at its location in the file of logs, else on the server of the settings.

    Raises:
        SetupError: there is no such log, or there are several.
    """
    with open_server(data_dir) as (settings, known):
        if (hosted := read_hosted_logs(settings).get(name)) is not None:
            of_log = replace(settings, schema=hosted.schema)
            yield NamedLog(of_log, database_at(known, hosted), known, hosted)
            return
        owners = databases_with_log(known.owner, settings.schema, name)
        if len(owners) != 1:
            there = "is no log" if not owners else "are several logs"
            raise SetupError(
                f"there {there} named {name} on this server (`executions cells list` shows them): name the database "
                "in EXECUTIONS_DATABASE_URL"
            )
        [owner] = owners
        log = known._replace(owner=owner, serving=same_database(known.serving, owner))
        yield NamedLog(settings, log, known)
