"""Formats events, log lines and JSON for a terminal, without control characters."""

from __future__ import annotations

import re
from typing import Any

import click
import orjson
from rich.text import Text

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
"""Characters of JSON that a line shows."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, by which the writer of a message could control the terminal of the reader."""


def plain(text: str) -> str:
    """Replace the control characters in a text."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def print_json(data: str) -> None:
    """Print a line of JSON, with control characters escaped."""
    click.echo(CONTROL.sub(_escape, data))


def event_text(event: Any) -> Text:
    """Format an event in one line."""
    return _text(
        (event["time"][11:23], "dim"),
        (f" {event['position']:>8} ", "dim"),
        (event["subject"], "bold"),
        (" ", ""),
        (event["type"], COLOURS.get(event["type"].rpartition(".")[2], "default")),
        (f" by {event['actor']} ", "dim"),
        (_short(event["data"]), ""),
    )


def log_text(line: Any, *, execution: str | None = None) -> Text:
    """Format a log line, with its `execution` where the lines are of several."""
    missing = next((name for name in ("erased", "unreadable") if line.get(name)), None)
    message = f"({missing})" if missing else line["message"]
    return _text(
        (line["timestamp"][11:23], "dim"),
        (f" {execution}" if execution else "", "bold"),
        (f" {line['level']:<5}", LEVELS[line["level"]]),
        (f" [{line['step']}]" if "step" in line else "", "cyan"),
        (f" {message}", ""),
        (f" {_short(line['context'])}" if "context" in line else "", "dim"),
    )


def _text(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*((plain(text), style) for text, style in parts))


def _escape(control: re.Match[str]) -> str:
    """Escape a control character for JSON."""
    return f"\\u{ord(control[0]):04x}"


def _short(value: Any) -> str:
    data = orjson.dumps(value).decode()
    return data if len(data) <= LONGEST else f"{data[:LONGEST]}…"
