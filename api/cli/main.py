"""`executions`: the command line to run, fill and maintain the service."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from api.cli.command_group import LazyGroup
from api.cli.options import DATA_DIR, PROCESSES
from api.settings import SetupError, read, unknown

ELSEWHERE = {
    "audit": "api.cli.audit.group:audit_group",
    "cells": "api.cli.cells.group:cells_group",
    "cluster": "api.cli.cluster.group:cluster_group",
    "confirm-clock": "api.cli.confirm_clock:confirm_clock_command",
    "demo": "api.cli.client.demo.command:demo_command",
    "import": "api.cli.client.import_xes:import_command",
    "inbox": "api.cli.client.inbox:inbox_command",
    "keys": "api.cli.keys.group:keys_group",
    "logs": "api.cli.client.logs:logs_command",
    "open": "api.cli.client.open:open_command",
    "relay": "api.cli.relay.group:relay_group",
    "replay": "api.cli.client.replay:replay_command",
    "run": "api.cli.client.run:run_command",
    "tail": "api.cli.client.tail:tail_command",
    "timers": "api.cli.engine.commands:timers_command",
    "webhooks": "api.cli.engine.commands:webhooks_command",
}
"""The module and name of each command that is imported when it is needed."""


@click.group(
    cls=LazyGroup, elsewhere=ELSEWHERE, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="executions")
@click.pass_context
def main(context: click.Context) -> None:
    """Record, query, replay and stream the executions of services.

    Start with `executions serve`: it needs nothing but a folder. Without EXECUTIONS_DATABASE_URL
    it runs a PostgreSQL of its own there.
    """
    if context.invoked_subcommand != "serve":  # which logs it
        for variable, near in unknown().items():
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            click.echo(f"Warning: {variable} is no setting{meant}", err=True)


@main.command()
@click.option("--host", help="Address to listen on (EXECUTIONS_HOST; 127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on, 0 for any (EXECUTIONS_PORT; 8000).")
@DATA_DIR
@click.option(
    "--no-work",
    is_flag=True,
    help="Start no work process: another server or `executions work` does the work.",
)
@click.option(
    "--from-nats",
    is_flag=False,
    flag_value="",
    metavar="[URL]",
    help="Only send streams, of events that a relay publishes to NATS (EXECUTIONS_NATS_URL).",
)
def serve(
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    from_nats: str | None,
    *,
    no_work: bool,
) -> None:
    """Run the service until Ctrl-C.

    At the first start it makes its keys and an admin token in the data directory, readable only by
    its user, and prints the file of the token. Requests carry the token as `Authorization: Bearer <token>`.

    Beside the server a work process updates lists, figures and log lines, and does the background
    work. With --no-work there is none: another server does that, or `executions work`.

    With --from-nats it is an edge: it needs no database, and sends the streams of the server at
    EXECUTIONS_SERVER_URL, which authorizes each request; see `executions relay`.
    """
    chosen = partial(read, host=host, port=port, data_dir=data_dir)
    if from_nats is not None:
        from api.cli.relay.edge import serve_edge

        _run_reporting_errors(lambda: serve_edge(chosen(), from_nats))
        return
    from api.service import serve as run

    _run_reporting_errors(lambda: run(chosen(), work=not no_work))


@main.command()
@DATA_DIR
def work(data_dir: Path | None) -> None:
    """Do the background work of a log, until Ctrl-C; answer no requests.

    It updates lists, figures and log lines; fires timers (retries, timeouts, a checkpoint every 15 minutes); ends
    lost leases; calls webhooks; executes jobs; and archives old log lines.

    `executions serve` starts a process that does this; this command is for servers with --no-work.
    Several may run: each view is updated by one of them, and by another one when that ends.
    """
    from api.cli.work import work as run

    run(data_dir)


@main.command()
@DATA_DIR
def token(data_dir: Path | None) -> None:
    """Print the admin token, for `Authorization: Bearer <token>`."""
    from api.embedded_postgres.data_dir import DataDir

    def show() -> None:
        chosen = read(data_dir=data_dir)
        click.echo(chosen.admin_token or DataDir(chosen.data_dir).admin_token())

    _run_reporting_errors(show)


@main.command(context_settings={"allow_interspersed_args": False})
@DATA_DIR
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def database(data_dir: Path | None, program: str, arguments: tuple[str, ...]) -> None:
    """Run PROGRAM, one of PostgreSQL's programs, on the database of the log.

    PROGRAM is psql, pg_dump, pg_restore and so on, of the embedded PostgreSQL. ARGUMENTS are passed on:
    `executions database pg_dump --format=custom --file=log.dump`. The server may run meanwhile, or not.
    """
    from api.cli.database import run_on_database

    _run_reporting_errors(lambda: run_on_database(read(data_dir=data_dir), program, arguments))


@main.command()
@DATA_DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def projections(data_dir: Path | None, *, as_json: bool) -> None:
    """Show the position of each view, and the number of events that it could not apply.

    An event that a view cannot apply is parked: the view continues without it. Once the cause is
    fixed, `executions rebuild VIEW` applies it.
    """
    from api.cli.projections import show_projections

    show_projections(data_dir, as_json=as_json)


@main.command()
@click.argument("view")
@DATA_DIR
@PROCESSES
def rebuild(view: str, data_dir: Path | None, processes: int | None) -> None:
    """Rebuild the tables of VIEW from the log, while the old ones are used.

    VIEW is executions, analytics, catalog, logs, timers, deliveries or claims; or snapshots, from which
    states are loaded faster.

    The new tables replace the old ones atomically. A rebuild may be interrupted; nothing is lost, and
    the next run begins again. A long log is divided among several processes, whose priority is lower
    than that of the server.
    """
    from api.cli.projections import rebuild_projection

    rebuild_projection(view, data_dir, processes)


@main.command()
@DATA_DIR
@click.option("--events", is_flag=True, help="Move events instead, in ranges of 65 536.")
@click.option(
    "--dry-run", is_flag=True, help="Only print what would be moved, and what a hold keeps."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def archive(data_dir: Path | None, *, events: bool, dry_run: bool, as_json: bool) -> None:
    """Move the log lines of past days into the archive, now; or, with --events, old events.

    A day is past after EXECUTIONS_LOG_DAYS days. Its lines are written to EXECUTIONS_ARCHIVE_URL, are read back
    and compared, and only then leave the database. A legal hold keeps a day that has lines of an execution
    on hold. The work process does the same every hour.

    Events are old after EXECUTIONS_EVENT_DAYS days. Those of executions at rest leave the database, and are read
    from the files from then on. The work process does that every ten minutes, where that is set.
    """
    from api.cli.engine.archive import archive_logs
    from api.cli.engine.archive_events import archive_events

    (archive_events if events else archive_logs)(data_dir, dry_run=dry_run, as_json=as_json)


@main.command()
@DATA_DIR
@PROCESSES
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(data_dir: Path | None, processes: int | None, *, as_json: bool) -> None:
    """Check that all stored data are consistent: the log, its keys, its snapshots, every view, the archive.

    Positions and versions have no holes, all sealed fields can be decrypted, and every column of every view is as
    the events say, up to the position of the view; archive files have the digests in the log, and unreachable
    files are counted. Exits with 1 and names each fault. The server may run meanwhile; the database needs room
    for a second copy of the views. The data directory must have the master key of the log, without which sealed
    fields cannot be read.
    """
    from api.cli.verify import verify_all

    verify_all(data_dir, processes, as_json=as_json)


@main.command()
@DATA_DIR
@click.option("--json", "as_json", is_flag=True, help="Print everything measured as JSON.")
def doctor(data_dir: Path | None, *, as_json: bool) -> None:
    """Print on one page what is slow, large, late or damaged, and what to do about it.

    It measures tables, projections and PostgreSQL in well under a second, and changes nothing. The server
    may run meanwhile. Exits with 1 where it finds something. `executions verify` is more thorough: it
    compares every row with its events.
    """
    from api.cli.doctor import diagnose

    diagnose(data_dir, as_json=as_json)


@main.command()
@DATA_DIR
def restored(data_dir: Path | None) -> None:
    """Give a log that was restored from a backup a new id.

    Run this after each restore, while no server is running. Events that were recorded after the backup are not in
    this log, and other events will have their positions: consumers that name the log of their cursor are
    refused, and begin again. Archived events and log lines are read at EXECUTIONS_ARCHIVE_URL from then on, by default
    in the data directory, if their files are there.
    """
    from api.cli.restored import give_new_id

    give_new_id(data_dir)


def _run_reporting_errors(run: Callable[[], object]) -> None:
    """Run a command; a SetupError becomes a message of one line, without a traceback."""
    try:
        run()
    except SetupError as error:
        raise click.ClickException(str(error)) from None
