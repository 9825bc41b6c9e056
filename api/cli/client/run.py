"""`executions run`: runs a command as an execution."""

from __future__ import annotations

import sys

import click

from api.cli.client.service_client import open_client
from api.cli.options import At, at_service


@click.command("run")
@click.option("--service", required=True, help="The service of the execution.")
@click.option("--order", required=True, help="The order of the execution.")
@click.option("--id", "identity", help="The id of the execution; by default a new one.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given several times.")
@click.option(
    "--heartbeat",
    type=click.IntRange(1, 86_400),
    default=60,
    show_default=True,
    help="Seconds without a heartbeat after which the execution counts as stalled.",
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

    Its output is printed and recorded as log lines. Its exit code ends the execution, and is also that of this
    command, even where nothing can be recorded: a refusal of the service is printed, and the command runs all the
    same. A signal is passed on, and cancels the execution. While the service is unavailable the command continues, and
    its records are sent later. The command line is stored in the metadata, which is not sealed: leave secrets out of
    it.
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
