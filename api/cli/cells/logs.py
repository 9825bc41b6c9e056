"""`executions cells create` and `list`: the logs of one PostgreSQL server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

import click
from rich.table import Table

from api.cli.tables import print_table, whole_column
from api.embedded_postgres.data_dir import DataDir
from api.server import Database, database, named
from api.settings import Settings, SetupError, read
from api.telemetry.logging import configure_logging
from domain.errors import Overloaded
from domain.eventlog.setup.databases import (
    FoundLog,
    database_of,
    in_database,
    logs_on,
    make_database,
    without_password,
)
from domain.json_forms import format_time

MIB = 1024 * 1024


def create_log(name: str, data_dir: Path | None, *, as_json: bool) -> None:
    """Make the database of a log, its tables, and give it its name; what is there already stays."""
    with _server(data_dir, log=name) as (settings, known):
        made_for = database_of(name)
        is_new = make_database(known.owner, made_for)
        there = known._replace(
            owner=in_database(known.owner, made_for), serving=in_database(known.serving, made_for)
        )
        there.prepare(settings.schema)
        named(settings, there.owner)
        url = without_password(there.serving)
    if as_json:
        shown = {"name": name, "database": made_for, "made": is_new, "url": url}
        click.echo(json.dumps(shown))
        return
    click.echo(f"The log {name} is in the database {made_for}{'' if is_new else ', as before'}.")
    click.echo(f"Serve it: EXECUTIONS_DATABASE_URL={quote(url)} executions serve")


def list_logs(data_dir: Path | None, *, as_json: bool) -> None:
    """Print the logs of the server."""
    with _server(data_dir) as (settings, known):
        found = logs_on(known.owner, settings.schema)
    if as_json:
        click.echo(json.dumps([_document(log) for log in found]))
        return
    table = Table(whole_column("log"), whole_column("database"), "head", "last event", "MiB")
    for log in found:
        last = format_time(log.at) if log.position else ""
        size = f"{log.size / MIB:.1f}"
        table.add_row(log.name or "", log.database, str(log.position), last, size)
    print_table(table)


def _document(log: FoundLog) -> dict[str, object]:
    at = {"at": format_time(log.at)} if log.position else {}
    named = {"name": log.name} if log.name else {}
    return {**named, "database": log.database, "position": log.position, **at, "bytes": log.size}


@contextmanager
def _server(
    data_dir: Path | None, *, log: str | None = None
) -> Iterator[tuple[Settings, Database]]:
    """The PostgreSQL server of the settings, which runs while the block does."""
    try:
        settings = read(data_dir=data_dir, log=log)
        configure_logging(settings.log_level)
        with database(settings, DataDir(settings.data_dir)) as known:
            yield settings, known
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    except Overloaded as error:
        raise click.ClickException(error.detail) from None
