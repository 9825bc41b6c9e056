"""`executions open`: a link that lets one browser in."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from api.cli.client.ask import ask
from api.cli.options import at_service
from api.client.address import address
from api.settings import SetupError


@click.command("open")
@click.option("--print", "only_print", is_flag=True, help="Print the link; open no browser.")
@at_service
def open_command(
    url: str | None, token: str | None, data_dir: Path | None, *, only_print: bool
) -> None:
    """Sign a browser in, by a link that is good once, for a minute.

    The browser gets a session of whose token it is, which it keeps in a cookie. The page behind the link leads on
    to the dashboard.
    """
    try:
        where = address(url, token, data_dir)
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    code = ask(where, "POST", "/session/codes")["code"]
    link = f"{where.url}/open#{code}"
    if only_print or not webbrowser.open(link):
        click.echo(link)
