"""`executions tail`: follow events or log lines, of all or one, on a terminal or into a pipe."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.text import Text

from api.cli.options import at_service
from api.client.address import Address, address
from api.client.event_source import Frame, Refused, follow
from api.settings import SetupError

OURS = {"checkpoint", "caught-up", "fell-behind", "closing"}
COLOURS = {
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "retry": "yellow",
    "paused": "yellow",
    "started": "cyan",
    "created": "blue",
}
LEVELS = {"debug": "dim", "info": "default", "warn": "yellow", "error": "red"}
LONGEST = 160
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey: the writer of a message must not steer the reader's."""
GAP = "log lines may be missing here: GET /api/executions/<id>/logs has them all"


@click.command("tail")
@click.argument("execution", required=False)
@click.option(
    "--from",
    "begin",
    help="start, now, a position, or a time; by default now, or an EXECUTION's first event.",
)
@click.option("--types", help="Only these, like execution.step.*, comma-separated.")
@click.option("--service", help="Only executions of this service; so for the next options.")
@click.option("--order")
@click.option("--customer")
@click.option("--provider")
@click.option("--tag")
@click.option("--status")
@click.option("--speed", type=click.FloatRange(0), help="Replay the past so many times faster.")
@click.option("--logs", is_flag=True, help="Log lines as they come, instead of events.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@at_service
def tail_command(
    execution: str | None,
    begin: str | None,
    url: str | None,
    token: str | None,
    data_dir: Path | None,
    *,
    logs: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Follow what happens: the whole log, or one EXECUTION until it has ended.

    A lost connection is made again and goes on where it was: no event is missed, none comes twice.
    Log lines have no place to go on from: where some may be missing, a notice says so. Ctrl-C ends
    it.
    """
    if logs and filters["types"]:
        raise click.UsageError("--types are of events, and go without --logs.")
    query = {name: str(value) for name, value in filters.items() if value is not None}
    query |= {} if begin is None else {"from": begin}
    query |= {"types": "log"} if logs else {"format": "events"}
    path = "/executions/watch" if execution is None else f"/executions/{execution}/watch"
    try:
        _tail(address(url, token, data_dir), path, query, as_json=as_json)
    except (Refused, SetupError) as error:
        raise click.ClickException(plain(str(error))) from None
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


def _tail(where: Address, path: str, query: dict[str, str], *, as_json: bool) -> None:
    console, notices = (
        Console(highlight=False, soft_wrap=True),
        Console(stderr=True, soft_wrap=True),
    )

    def lost(reason: str, seconds: float) -> None:
        notices.print(Text(plain(f"{reason}; trying again in {seconds:.1f} s"), "dim"))

    arrivals = 0
    for frame in follow(where, path, query, lost):
        if frame.type not in OURS:
            _show(console, frame, as_json=as_json)
        elif frame.type == "caught-up":
            arrivals += 1
            if arrivals > 1 and query.get("types") == "log":
                notices.print(Text(GAP, "yellow"))


def _show(console: Console, frame: Frame, *, as_json: bool) -> None:
    if as_json:
        print_json(frame.data)
    else:
        console.print(
            log_line(frame) if frame.type == "log" else event_text(orjson.loads(frame.data))
        )


def event_text(event: Any) -> Text:
    """An event in one line."""
    return _text(
        (event["time"][11:23], "dim"),
        (f" {event['position']:>8} ", "dim"),
        (event["subject"], "bold"),
        (" ", ""),
        (event["type"], COLOURS.get(event["type"].rpartition(".")[2], "default")),
        (f" by {event['actor']} ", "dim"),
        (_short(event["data"]), ""),
    )


def log_line(frame: Frame) -> Text:
    """A log line with its execution, in one line unless its message has more."""
    shown = orjson.loads(frame.data)
    return log_text(shown, (shown["execution"], "bold"), (" ", ""))


def log_text(shown: Any, *before: tuple[str, str]) -> Text:
    """A log line as JSON has it, with what stands `before` its level."""
    missing = next((name for name in ("erased", "unreadable") if shown.get(name)), None)
    message = f"({missing})" if missing else shown["message"]
    return _text(
        (shown["timestamp"][11:23], "dim"),
        (" ", ""),
        *before,
        (f"{shown['level']:<5}", LEVELS[shown["level"]]),
        (f" [{shown['step']}]" if "step" in shown else "", "cyan"),
        (f" {message}", ""),
        (f" {_short(shown['context'])}" if "context" in shown else "", "dim"),
    )


def _text(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*((plain(text), style) for text, style in parts))


def plain(text: str) -> str:
    """A text that only stands there, whatever is in it."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def print_json(data: str) -> None:
    """A line of JSON, in which nothing steers the terminal."""
    click.echo(CONTROL.sub(_escaped, data))


def _escaped(control: re.Match[str]) -> str:
    """As JSON may also write it."""
    return f"\\u{ord(control[0]):04x}"


def _short(value: Any) -> str:
    data = orjson.dumps(value).decode()
    return data if len(data) <= LONGEST else f"{data[:LONGEST]}…"
