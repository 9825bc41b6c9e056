"""`executions logs`: prints the log lines of one execution, with `--follow` also new ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console

from api.cli.client.followed import follow
from api.cli.client.service_client import open_client
from api.cli.options import At, reading_at_service
from api.cli.terminal import log_text, print_json

if TYPE_CHECKING:
    from service_executions import Client

PAGE = "500"
OF_PAGES = {"text", "archived"}


@click.command("logs")
@click.argument("execution")
@click.option(
    "--follow", "-f", "following", is_flag=True, help="Continue until the execution has ended."
)
@click.option("--level", help="Only lines of these levels, like warn,error.")
@click.option("--step", help="Only lines of this step.")
@click.option("--since", help="Only lines of this time or later.")
@click.option("--until", help="Only lines before this time.")
@click.option("--text", help="Only lines whose message has this text.")
@click.option("--archived", is_flag=True, help="Lines of archived days, too.")
@click.option("--json", "as_json", is_flag=True, help="Print each line as a line of JSON.")
@reading_at_service
def logs_command(
    at: At,
    execution: str,
    *,
    following: bool,
    archived: bool,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Print the log lines of EXECUTION, of its workers and of the server.

    The lines are in the order of their times; with --follow in the order of recording, with new lines as they arrive.
    A lost connection is made again: no line is missed, none is printed twice. Ctrl-C ends it.
    """
    query = {name: value for name, value in filters.items() if value is not None}
    if archived:
        query["archived"] = "true"
    if following and query.keys() & OF_PAGES:
        raise click.UsageError("--follow goes neither with --text nor with --archived")
    console = Console(highlight=False, soft_wrap=True)
    with open_client(at) as client:
        for line in (_follow if following else _read)(client, execution, query):
            if as_json:
                print_json(line)
            else:
                console.print(log_text(orjson.loads(line)))


def _follow(client: Client, execution: str, query: dict[str, str]) -> Iterator[str]:
    from service_executions.requests import segment

    path = f"/executions/{segment(execution)}/logs"
    return (sent.text for sent in follow(client, path, query))


def _read(client: Client, execution: str, query: dict[str, str]) -> Iterator[str]:
    from service_executions import Query
    from service_executions.requests import read, segment

    request = read(f"/executions/{segment(execution)}/logs", {"limit": PAGE, **query})
    return iter(Query(client.transport, request, lambda line: orjson.dumps(line).decode()))
