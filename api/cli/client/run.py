"""`executions run`: an execution around a command."""

from __future__ import annotations

import sys

import click

from api.cli.client.service_client import open_client
from api.cli.options import At, at_service


@click.command("run")
@click.option("--service", required=True, help="The service that the execution is of.")
@click.option("--order", required=True, help="The order that it is of.")
@click.option("--id", "identity", help="Its id; one is made where there is none.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given several times.")
@click.option(
    "--heartbeat",
    type=click.IntRange(1, 86_400),
    default=60,
    show_default=True,
    help="Seconds of silence after which it shows as stalled.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@at_service
def run_command(
    at: At,
    command: tuple[str, ...],
    *,
    service: str,
    order: str,
    identity: str | None,
    tags: tuple[str, ...],
    heartbeat: int,
) -> None:
    """Run COMMAND, and record it as an execution: `executions run --service ci --order X -- make test`.

    Its output is shown and recorded as log lines, and its exit code is the end of the execution and that of
    this command, too, whatever can be recorded: what the service refuses is said, and the command runs all the
    same. A signal is passed on, and cancels the execution. While the service is away the command goes on, and what
    is recorded waits. The command line is kept in the metadata, which is not sealed: leave
    secrets out of it.
    """
    from api.cli.client.recorded_run import run_and_record

    with open_client(at) as client:
        code = run_and_record(
            client,
            command,
            order=order,
            service=service,
            identity=identity,
            tags=tags,
            heartbeat=heartbeat,
        )
    sys.exit(code)
