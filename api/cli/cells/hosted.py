"""`executions cells create`, `list` and `drop` where one server serves many logs, each in a schema, listed in a file."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
from rich.table import Table

from api.cells.registry import HOST, LogLocation, LogRegistry
from api.cli.tables import print_table, whole_column
from api.database import Database
from api.log_keys import settle_name
from api.ready_logs import database_at
from api.settings import Settings, SetupError
from domain.eventlog.setup.databases import database_in, log_at
from domain.eventlog.setup.log_id import is_served
from domain.json_forms import format_time

NO_LOGS = "There are no logs here; `executions cells create NAME` makes one."
NOTICED = 1.5
"""Seconds after which servers and work processes have read the changed file."""
LET_GO = 30.0
"""Seconds within which they have let go of a log that is no more in it."""
POLL_INTERVAL = 0.2


def create_hosted(
    name: str,
    hosts: tuple[str, ...],
    file: Path,
    settings: Settings,
    known: Database,
    *,
    as_json: bool,
) -> None:
    """Make the tables of a log, set its name, and add it to the file. Run again, this makes only what is missing.

    Raises:
        SetupError: the file or a host is not valid, or another log has the same location.
        Overloaded: the database is unavailable.
    """
    registry = LogRegistry(file)
    before = registry.read().get(name)
    location = before or LogLocation.of(name)
    location = replace(location, hosts=hosts_of(hosts) or location.hosts)
    registry.require_free(name, location)
    log = database_at(known, location).locate(location.schema)
    log.prepare(location.schema)
    settle_name(replace(settings, schema=location.schema), log.owner)
    registry.put(name, location)
    if as_json:
        made = {
            "name": name,
            "schema": location.schema,
            "made": before is None,
            "path": _path(name),
        }
        click.echo(json.dumps({**made, **({"hosts": location.hosts} if location.hosts else {})}))
        return
    click.echo(
        f"The log {name} is in the schema {location.schema}{', as before' if before else ''}, and in {file}."
    )
    at = "".join(f", and at {host}" for host in location.hosts)
    click.echo(f"Servers that have this file as EXECUTIONS_LOGS serve it at {_path(name)}{at}.")


def hosts_of(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Check the hosts of a log, and return them in lower case. Raises SetupError."""
    for host in hosts:
        if not re.fullmatch(HOST, host.lower()):
            raise SetupError(
                f"--host must be a name such as `south.example`, without a scheme and a path, but is `{host[:100]}`"
            )
    return tuple(map(str.lower, hosts))


def list_hosted(file: Path, known: Database, *, as_json: bool) -> None:
    """Print the logs in the file.

    Raises:
        SetupError: the file cannot be read.
    """
    found = [
        _describe(name, location, known) for name, location in LogRegistry(file).read().items()
    ]
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table(whole_column("log"), whole_column("schema"), "database", "head", "last event")
    for log in found:
        head = log.get("position", "not made yet, or away")
        shown = log["name"], log["schema"], log["database"], head, log.get("at", "")
        table.add_row(*map(str, shown))
    print_table(table)
    if not found:
        click.echo(NO_LOGS)


def _describe(name: str, location: LogLocation, known: Database) -> dict[str, object]:
    located = database_at(known, location).locate(location.schema)
    at = {"database": database_in(located.owner), "schema": location.schema}
    log = log_at(located.owner, location.schema)
    if log is None:
        return {"name": name, **at}
    last = {"at": format_time(log.at)} if log.position else {}
    return {"name": name, **at, "position": log.position, **last}


@contextmanager
def take_out(name: str, location: LogLocation, file: Path, owner: str) -> Iterator[None]:
    """Remove a log from the file, and wait until it is closed, for the block. After an error the log is added again.

    Raises:
        SetupError: the log is still served.
    """
    registry = LogRegistry(file)
    registry.remove(name)
    try:
        _wait_until_unserved(name, file, owner, location.schema)
        yield
    except BaseException:
        registry.put(name, location)
        raise


def _wait_until_unserved(name: str, file: Path, owner: str, schema: str) -> None:
    time.sleep(NOTICED)
    end = time.monotonic() + LET_GO
    while is_served(owner, schema):
        if time.monotonic() > end:
            raise SetupError(
                f"{name} is served although it is not in {file} any more: by a server of this log alone, or one with another file"
            )
        time.sleep(POLL_INTERVAL)


def _path(name: str) -> str:
    return f"/logs/{name}/api"
