"""`executions replay`: what happened to one execution since a checkpoint, and the state after each event."""

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

from api.cli.client.tail import event_text, plain, print_json
from api.cli.options import at_service
from api.client.address import Address, address, unreached
from api.client.event_source import Refused, authorization, require_ok
from api.settings import SetupError

START, LATEST = "start", "latest"
WITH_STATES = {"include": "execution", "limit": "100"}
CHECKPOINTS = {"types": "execution.checkpoint", "order": "desc", "limit": "500"}


@click.command("replay")
@click.argument("execution")
@click.option(
    "--from",
    "begin",
    default=LATEST,
    show_default=True,
    help="The id of a checkpoint, `latest`, or `start` for all that ever happened.",
)
@click.option("--json", "as_json", is_flag=True, help="Each event with its whole state, as JSON.")
@at_service
def replay_command(
    execution: str,
    begin: str,
    url: str | None,
    token: str | None,
    data_dir: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print what happened to EXECUTION since a checkpoint, event by event, with the state after each.

    The first event is the checkpoint itself. Where there is none, `latest` is the start.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        where = address(url, token, data_dir)
        with httpx.Client(headers=authorization(where), timeout=30) as client:
            for event in _events(where, client, f"/executions/{execution}/events", begin):
                if as_json:
                    print_json(orjson.dumps(event).decode())
                else:
                    console.print(event_text(event))
                    console.print(state_text(event["state"]))
    except (Refused, SetupError) as error:
        raise click.ClickException(plain(str(error))) from None
    except httpx.HTTPError as error:
        raise click.ClickException(unreached(where.url, str(error))) from None
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


def _events(where: Address, client: httpx.Client, path: str, begin: str) -> Iterator[Any]:
    before = 0 if begin == START else _before_checkpoint(where, client, path, begin)
    query = {**WITH_STATES, "cursor": str(before)}
    for page in _pages(where, client, path, query):
        yield from page


def _before_checkpoint(where: Address, client: httpx.Client, path: str, begin: str) -> int:
    """The version before that of a checkpoint's event.

    Raises:
        Refused: there is no such checkpoint.
    """
    for page in _pages(where, client, path, CHECKPOINTS):
        for event in page:
            if begin in (LATEST, event["data"]["checkpoint"]):
                return int(event["version"]) - 1
    if begin == LATEST:
        return 0
    raise Refused(f"there is no checkpoint `{begin}`; GET …/checkpoints lists those there are")


def _pages(
    where: Address, client: httpx.Client, path: str, query: dict[str, str]
) -> Iterator[list[Any]]:
    """The pages of a history, whose cursors are versions."""
    while True:
        response = client.get(f"{where.url}/api{path}", params=query)
        require_ok(where, response)
        page = orjson.loads(response.content)
        yield page["data"]
        if not page["hasMore"]:
            return
        query = {**query, "cursor": page["nextCursor"]}


def state_text(state: Any) -> Text:
    """The state after an event, in one line."""
    metrics = state["metrics"]
    parts = [
        state["status"],
        f"{state['progress']:g} %",
        f"{metrics['stepsCompleted']}/{metrics['stepsTotal']} steps",
    ]
    running = [step["name"] for step in state["steps"] if step["status"] == "running"]
    parts += [f"at {', '.join(running)}"] if running else []
    parts += [f"{metrics['retries']} retries"] if metrics["retries"] else []
    parts += [f"{metrics['tokensUsed']} tokens"] if metrics["tokensUsed"] else []
    return Text(plain(f"             → {' · '.join(parts)}"), "dim")
