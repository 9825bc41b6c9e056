"""`executions logs`: the log lines of one execution, and with `--follow` what comes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import orjson
from rich.console import Console
from rich.text import Text

from api.cli.client.tail import log_text, plain, print_json
from api.cli.options import at_service
from api.client.address import Address, address, unreached
from api.client.event_source import Refused, authorization, follow, require_ok
from api.settings import SetupError

PAGE = "500"
OF_PAGES = {"text", "archived"}


@click.command("logs")
@click.argument("execution")
@click.option("--follow", "-f", "following", is_flag=True, help="Go on until it has ended.")
@click.option("--level", help="Only these, like warn,error.")
@click.option("--step", help="Only lines of this step.")
@click.option("--since", help="Only lines that are of this time or later.")
@click.option("--until", help="Only lines that are of before this time.")
@click.option("--text", help="Only lines whose message has this text.")
@click.option("--archived", is_flag=True, help="Lines of archived days, too.")
@click.option("--json", "as_json", is_flag=True, help="Print each line as a line of JSON.")
@at_service
def logs_command(
    execution: str,
    url: str | None,
    token: str | None,
    data_dir: Path | None,
    *,
    following: bool,
    archived: bool,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Print the log lines of EXECUTION, its workers' and the server's own.

    By the time that they are of; with --follow in the order in which they were recorded, then as they
    come. A lost connection is made again: no line is missed, none comes twice. Ctrl-C ends it.
    """
    query = {name: value for name, value in filters.items() if value is not None}
    if archived:
        query["archived"] = "true"
    if following and query.keys() & OF_PAGES:
        raise click.UsageError("--follow goes neither with --text nor with --archived")
    path = f"/executions/{execution}/logs"
    console = Console(highlight=False, soft_wrap=True)
    try:
        where = address(url, token, data_dir)
        for data in (_followed if following else _read)(where, path, query):
            if as_json:
                print_json(data)
            else:
                console.print(log_text(orjson.loads(data)))
    except (Refused, SetupError) as error:
        raise click.ClickException(plain(str(error))) from None
    except httpx.HTTPError as error:
        raise click.ClickException(unreached(where.url, str(error))) from None
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


def _followed(where: Address, path: str, query: dict[str, str]) -> Iterator[str]:
    notices = Console(stderr=True, soft_wrap=True)

    def lost(reason: str, seconds: float) -> None:
        notices.print(Text(plain(f"{reason}; trying again in {seconds:.1f} s"), "dim"))

    for frame in follow(where, path, query, lost):
        if frame.type == "log":
            yield frame.data


def _read(where: Address, path: str, query: dict[str, str]) -> Iterator[str]:
    cursor: dict[str, Any] = {}
    with httpx.Client(headers=authorization(where), timeout=30) as client:
        while True:
            asked = {"limit": PAGE, **query, **cursor}
            response = client.get(f"{where.url}/api{path}", params=asked)
            require_ok(where, response)
            page = orjson.loads(response.content)
            for line in page["data"]:
                yield orjson.dumps(line).decode()
            if not page["hasMore"]:
                return
            cursor = {"cursor": page["nextCursor"]}
