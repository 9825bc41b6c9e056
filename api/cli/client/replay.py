"""`executions replay`: prints the events of one execution since a checkpoint, and the state after each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console
from rich.text import Text

from api.cli.client.service_client import open_client
from api.cli.options import At, reading_at_service
from api.cli.terminal import event_text, plain, print_json

if TYPE_CHECKING:
    from service_executions import Client

START, LATEST = "start", "latest"
WITH_STATES = {"include": "execution", "limit": 100}
MOST_NAMED = 20
"""Checkpoints that the refusal of an unknown one names, the latest ones."""
CHECKPOINTS = {"types": "execution.checkpoint", "order": "desc", "limit": 500}


@click.command("replay")
@click.argument("execution")
@click.option(
    "--from",
    "begin",
    default=LATEST,
    show_default=True,
    help="The id of a checkpoint, `latest`, or `start` for all events.",
)
@click.option("--json", "as_json", is_flag=True, help="Each event with its whole state, as JSON.")
@reading_at_service
def replay_command(at: At, execution: str, begin: str, *, as_json: bool) -> None:
    """Print the events of EXECUTION since a checkpoint, with the state after each.

    The first event is the checkpoint itself. Where there is none, `latest` is the start.
    """
    console = Console(highlight=False, soft_wrap=True)
    with open_client(at) as client:
        before = 0 if begin == START else _before_checkpoint(client, execution, begin)
        for event in _events(client, execution, {**WITH_STATES, "cursor": before}):
            if as_json:
                print_json(orjson.dumps(event).decode())
            else:
                console.print(event_text(event))
                console.print(state_text(event["state"]))


def _before_checkpoint(client: Client, execution: str, begin: str) -> int:
    """The version before the event of a checkpoint. Raises ClickException where there is no such checkpoint."""
    known: list[str] = []
    for event in _events(client, execution, CHECKPOINTS):
        if begin in (LATEST, event["data"]["checkpoint"]):
            return int(event["version"]) - 1
        known.append(event["data"]["checkpoint"])
    if begin == LATEST:
        return 0
    raise click.ClickException(
        plain(f"there is no checkpoint `{begin}`; there {_name_known(known)}")
    )


def _name_known(known: list[str]) -> str:
    """The clause that names the latest checkpoints, newest first."""
    if not known:
        return "are none: leave --from out"
    more = len(known) - MOST_NAMED
    ids = ", ".join(known[:MOST_NAMED])
    return f"{'is' if len(known) == 1 else 'are'} {ids}{f' and {more} more' if more > 0 else ''}"


def _events(client: Client, execution: str, query: dict[str, Any]) -> Iterator[Any]:
    """The events of an execution, page by page; the cursors are versions."""
    from service_executions import Query
    from service_executions.requests import read, segment

    request = read(f"/executions/{segment(execution)}/events", query)
    return iter(Query(client.transport, request, lambda event: event))


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
