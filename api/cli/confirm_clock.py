"""`executions confirm-clock`: the server's clock is right, although it has leapt ahead."""

from __future__ import annotations

from pathlib import Path

import click
import httpx

from api.cli.client.tail import plain
from api.cli.options import at_service
from api.client.address import address, unreached
from api.client.event_source import Refused, authorization, require_ok
from api.settings import SetupError


@click.command("confirm-clock")
@at_service
def confirm_clock_command(url: str | None, token: str | None, data_dir: Path | None) -> None:
    """Say that the server's clock is right, although it has leapt ahead.

    A server refuses commands while its clock is more than an hour ahead of the time that has passed, as
    every event would be dated by it for ever. Each server of a log has a clock of its own.
    """
    try:
        where = address(url, token, data_dir)
        response = httpx.post(f"{where.url}/api/clock/confirm", headers=authorization(where))
        require_ok(where, response)
    except (Refused, SetupError) as error:
        raise click.ClickException(plain(str(error))) from None
    except httpx.HTTPError as error:
        raise click.ClickException(unreached(where.url, str(error))) from None
    answer = response.json()
    click.echo(f"The clock is {answer['time']}; it had leapt ahead by {answer['leap']} seconds.")
