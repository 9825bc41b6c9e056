"""`executions cells drop`: deletes a log."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from api.cells.registry import LogLocation
from api.cli.cells.hosted import take_out
from api.cli.cells.named_log import open_named_log, reporting_errors
from api.settings import Settings, SetupError
from domain.eventlog.moving.journal import Journal, read_from
from domain.eventlog.moving.steps import Done
from domain.eventlog.setup.databases import FoundLog, drop_log, log_at, without_secrets
from domain.eventlog.setup.log_id import is_served
from domain.json_forms import format_time

MIB = 1024 * 1024
SERVED = "a server or a work process runs on this log: stop it first"


def drop_named(name: str, confirmed: str | None, data_dir: Path | None, *, as_json: bool) -> None:
    """Drop a log, once its name was confirmed."""
    with reporting_errors(), open_named_log(name, data_dir) as (settings, known, named, hosted):
        schema = settings.schema
        if hosted is None and is_served(known.owner, schema):
            raise SetupError(SERVED)
        journal = read_from(known.owner, schema)
        if journal is not None and journal.step != Done.FINISHED:
            raise SetupError(
                f"this log is being moved to {journal.target}: finish that, or take it back, first"
            )
        log = log_at(known.owner, schema)
        assert log is not None
        if not as_json:
            click.echo(_describe(name, log, without_secrets(known.owner), journal))
        if (confirmed or click.prompt("Its name, once more", err=True)) != name:
            raise SetupError(f"that is not {name}: nothing was dropped")
        with _prevent_serving(name, hosted, settings, known.owner):
            dropped = drop_log(known.owner, schema, named.owner)
    gone = {"name": name, "dropped": dropped, "position": log.position}
    click.echo(json.dumps(gone) if as_json else f"Dropped {dropped}.")


def _prevent_serving(
    name: str, hosted: LogLocation | None, settings: Settings, owner: str
) -> AbstractContextManager[None]:
    if hosted is None or settings.logs is None:
        return nullcontext()
    return take_out(name, hosted, settings.logs, owner)


def _describe(name: str, log: FoundLog, location: str, journal: Journal | None) -> str:
    last = f", the last of {format_time(log.at)}" if log.position else ""
    lines = [
        f"The log {name}, {location}: {log.position} events{last}; the database has {log.size / MIB:.1f} MiB.",
        "Everything is deleted: events, keys, views, log lines, the access log. Its master key and the files of its archive stay.",
    ]
    if journal is not None and journal.moved:
        lines.insert(1, f"It has moved to {journal.target}: this is what was left behind.")
    return "\n".join(lines)
