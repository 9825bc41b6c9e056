"""`executions open`: prints or opens a link that signs one browser in."""

from __future__ import annotations

import webbrowser

import click

from api.cli.client.service_client import open_client, send_request
from api.cli.options import At, at_service


@click.command("open")
@click.option("--print", "only_print", is_flag=True, help="Print the link; open no browser.")
@at_service
def open_command(at: At, *, only_print: bool) -> None:
    """Sign a browser in, by a link that can be used once, within a minute.

    The browser gets a session of the token's holder, in a cookie. The page behind the link redirects to the dashboard.
    """
    with open_client(at) as client:
        code = send_request(client, "POST", "/session/codes")["code"]
        link = f"{client.url}/open#{code}"
    if only_print or not webbrowser.open(link):
        click.echo(link)
