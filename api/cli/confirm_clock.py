"""`executions confirm-clock`: confirms the server's clock after a leap ahead."""

from __future__ import annotations

import click

from api.cli.client.service_client import open_client, send_request
from api.cli.options import At, at_service


@click.command("confirm-clock")
@at_service
def confirm_clock_command(at: At) -> None:
    """Confirm that the server's clock is right, although it has leapt ahead.

    A server refuses commands while its clock is more than an hour ahead of the elapsed time, as events would have the
    wrong time for ever. Each server of a log has a clock of its own.
    """
    with open_client(at) as client:
        answer = send_request(client, "POST", "/clock/confirm")
    leap = f"had leapt ahead by {answer['leap']} seconds" if answer["leap"] else "was in no doubt"
    click.echo(f"The clock is {answer['time']}; it {leap}.")
