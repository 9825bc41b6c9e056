"""`executions cells create` and `list`: the logs of one PostgreSQL server, or of one server of many logs."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote

import click
from rich.table import Table

from api.cli.cells.hosted import NO_LOGS, create_hosted, list_hosted
from api.cli.cells.named_log import open_server, reporting_errors
from api.cli.tables import print_table, whole_column
from api.database import Database
from api.log_keys import settle_name
from api.settings import SetupError, read
from domain.eventlog.moving.journal import Journal, read_from
from domain.eventlog.setup.databases import (
    FoundLog,
    database_of,
    in_database,
    log_at,
    logs_on,
    make_database,
    without_secrets,
)
from domain.json_forms import format_time

MIB = 1024 * 1024
SETTINGS = {"url": "EXECUTIONS_DATABASE_URL", "ownerUrl": "EXECUTIONS_DATABASE_OWNER_URL"}
"""The setting for each URL of a log."""


def create_log(name: str, hosts: tuple[str, ...], data_dir: Path | None, *, as_json: bool) -> None:
    """Make a log, with its tables and its name: in a database, or, where there is a file of logs, in a schema and in the
    file. Run again, this makes only what is missing.
    """
    with reporting_errors(), open_server(data_dir, log=name) as (settings, known):
        if settings.logs is not None:
            _require_another(name, data_dir, known)
            create_hosted(name, hosts, settings.logs, settings, known, as_json=as_json)
            return
        if hosts:
            raise SetupError("--host is for logs of one server: name their file in EXECUTIONS_LOGS")
        database = database_of(name)
        is_new = make_database(known.owner, database)
        made = known._replace(
            owner=in_database(known.owner, database), serving=in_database(known.serving, database)
        )
        made.prepare(settings.schema)
        settle_name(settings, made.owner)
    urls = {"url": without_secrets(made.serving)}
    if settings.database_owner_url is not None:
        urls["ownerUrl"] = without_secrets(made.owner)
    if as_json:
        click.echo(json.dumps({"name": name, "database": database, "made": is_new, **urls}))
        return
    click.echo(f"The log {name} is in the database {database}{'' if is_new else ', as before'}.")
    shown = " ".join(f"{SETTINGS[key]}={quote(url)}" for key, url in urls.items())
    click.echo(f"Serve it: {shown} executions serve")


def _require_another(name: str, data_dir: Path | None, known: Database) -> None:
    own = read(data_dir=data_dir)
    found = log_at(known.owner, own.schema)
    if name in {own.log, found and found.name}:
        raise SetupError(
            f"{name} is the log of the settings, which is served beside those of the file: choose another name"
        )


def list_logs(data_dir: Path | None, *, as_json: bool) -> None:
    """Print the logs in the file of logs; without a file, those on the server."""
    with reporting_errors(), open_server(data_dir) as (settings, known):
        if settings.logs is not None:
            list_hosted(settings.logs, known, as_json=as_json)
            return
        found = logs_on(known.owner, settings.schema)
        moves = {log.database: _move_of(known, log, settings.schema) for log in found}
    if as_json:
        click.echo(json.dumps([_document(log, moves[log.database]) for log in found]))
        return
    columns = (whole_column("log"), whole_column("database"), "head", "last event", "MiB")
    table = Table(*columns, *(["move"] if any(moves.values()) else []))
    for log in found:
        last = format_time(log.at) if log.position else ""
        size, move = f"{log.size / MIB:.1f}", moves[log.database]
        shown = log.name or "", log.database, str(log.position), last, size
        table.add_row(*shown, *([_words(move)] if move else []))
    print_table(table)
    if not found:
        click.echo(NO_LOGS)


def _move_of(known: Database, log: FoundLog, schema: str) -> Journal | None:
    return read_from(in_database(known.owner, log.database), schema)


def _words(move: Journal) -> str:
    if move.moved:
        return f"is at {move.target}"
    what = "takes no commands until the move is continued" if move.sealed else "is being moved"
    return f"{what}: {move.step}, to {move.target}"


def _document(log: FoundLog, move: Journal | None) -> dict[str, object]:
    at = {"at": format_time(log.at)} if log.position else {}
    named = {"name": log.name} if log.name else {}
    moved: dict[str, object] = {}
    if move is not None:
        moved = (
            {"movedTo": move.target}
            if move.moved
            else {"move": {"to": move.target, "step": move.step}}
        )
    of_log = {"database": log.database, "position": log.position, **at, "bytes": log.size}
    return {**named, **of_log, **moved}
