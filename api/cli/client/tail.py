"""`executions tail`: prints events of the whole log or of one execution, or log lines, as they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from api.cli.client.followed import ReceivedFrame, follow
from api.cli.client.service_client import open_client
from api.cli.options import At, reading_at_service
from api.cli.terminal import event_text, log_text, print_json

if TYPE_CHECKING:
    from service_executions import Client

LOG_LINES = "log"
"""The type of the frames with log lines, which only the streams for watchers have."""
GAP = "log lines may be missing here: GET /api/executions/<id>/logs has them all"


@click.command("tail")
@click.argument("execution", required=False)
@click.option(
    "--from",
    "begin",
    help="start, now, a position, or a time; by default now, or an EXECUTION's first event.",
)
@click.option("--types", help="Only these, like execution.step.*, comma-separated.")
@click.option("--service", help="Only executions of this service.")
@click.option("--order", help="Only executions of this order.")
@click.option("--customer", help="Only executions for this customer.")
@click.option("--provider", help="Only executions by this provider.")
@click.option("--tag", help="Only executions with this tag.")
@click.option("--status", help="Only executions with this status, such as running.")
@click.option("--speed", type=click.FloatRange(0), help="Replay the past so many times faster.")
@click.option("--logs", is_flag=True, help="Log lines as they come, instead of events.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@reading_at_service
def tail_command(
    at: At, execution: str | None, begin: str | None, *, logs: bool, as_json: bool, **filters: Any
) -> None:
    """Print events as they arrive: of the whole log, or of one EXECUTION until it has ended.

    The whole log has the events of orders, services, users and all else, too; --service, --order, --customer,
    --provider, --tag and --status leave only events of executions.

    A lost connection is made again, and the stream resumes: no event is missed, none is printed twice. Log lines have
    no cursor to resume from: where some may be missing, a notice is printed. Ctrl-C ends it.
    """
    if logs and filters["types"]:
        raise click.UsageError("--types are of events, and go without --logs.")
    query = {name: value for name, value in filters.items() if value is not None}
    query |= {"types": LOG_LINES} if logs else {"format": "events"}
    if begin is None and execution is None:
        begin = "now"
    with open_client(at) as client:
        _tail(client, execution, begin, query, as_json=as_json)


def _tail(
    client: Client,
    execution: str | None,
    begin: str | None,
    query: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from service_executions.requests import segment

    if execution is not None:
        path = f"/executions/{segment(execution)}/watch"
    else:
        path = "/executions/watch" if query.get("types") == LOG_LINES else "/events"
    losses = 0

    def note_lost() -> None:
        nonlocal losses
        losses += 1

    console, notices = (
        Console(highlight=False, soft_wrap=True),
        Console(stderr=True, soft_wrap=True),
    )
    for sent in follow(client, path, query, start=begin, lost=note_lost):
        if losses and query.get("types") == LOG_LINES:
            notices.print(Text(GAP, "yellow"))
        losses = 0
        if as_json:
            print_json(sent.text)
        else:
            console.print(_line(sent))


def _line(sent: ReceivedFrame) -> Text:
    shown = sent.content
    if shown["type"] == "log":
        return log_text(shown, execution=shown["execution"])
    return event_text(shown)
