"""`executions timers`: prints the next timers, and those that are late."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from api.cli.open_log import run_on_log
from api.cli.tables import print_table, whole_column
from domain.eventlog.store import Store
from domain.json_forms import format_time
from projections.engine.progress import ViewPosition, read_view_position
from projections.timers import due
from projections.timers.due import LateTimers
from projections.timers.projection import Timers
from projections.timers.timer import Timer
from workers.ownership import without_owner

TOLERATED = timedelta(seconds=5)
"""A timer may look late for so long, as the view does not have the event of its firing yet."""


def show_timers(data_dir: Path | None, limit: int, *, as_json: bool) -> None:
    """Print the timers; exit with 1 where some are late."""
    behind: list[bool] = []

    async def work(_: str, schema: str, store: Store) -> None:
        now = datetime.now(UTC)
        async with store.reader() as connection:
            late = await due.late(connection, now)
            reached = await read_view_position(connection, Timers.name)
            timers = await due.read_upcoming(connection, now, limit)
            owned = "timers" not in await without_owner(connection, schema)
        behind.append(late.seconds(now) > TOLERATED.total_seconds())
        if as_json:
            click.echo(json.dumps(_document(timers, late, reached, now, owned=owned)))
        else:
            print_table(_table(timers, now))
            click.echo(_summary(late, reached, now, owned=owned))

    run_on_log(data_dir, work)
    if any(behind):
        raise click.exceptions.Exit(1)


def _document(
    timers: list[Timer], late: LateTimers, progress: ViewPosition, now: datetime, *, owned: bool
) -> dict[str, Any]:
    return {
        "owned": owned,
        "lag": progress.lag,
        "late": late.number,
        "oldestLateSeconds": round(late.seconds(now), 3),
        "timers": [
            {"execution": timer.execution, "kind": kind, "due": format_time(at)}
            for timer in timers
            if (following := timer.next(now))
            for kind, at in [following]
        ],
    }


def _table(timers: list[Timer], now: datetime) -> Table:
    table = Table(whole_column("execution"), "what", "due", "in")
    for timer in timers:
        if (following := timer.next(now)) is not None:
            kind, at = following
            waits = kind == "checkpoint" and at < now
            left = Text("as something happens") if waits else _until(at - now)
            table.add_row(timer.execution, kind, format_time(at), left)
    return table


def _until(left: timedelta) -> Text:
    seconds = timedelta(seconds=round(abs(left.total_seconds())))
    return Text(f"late by {seconds}", "yellow") if left < timedelta() else Text(str(seconds))


def _summary(late: LateTimers, progress: ViewPosition, now: datetime, *, owned: bool) -> str:
    sentences = ["No timer is late."]
    if late.number:
        oldest = timedelta(seconds=round(late.seconds(now)))
        timers = "timer is" if late.number == 1 else "timers are"
        sentences = [f"{late.number} {timers} due, the oldest for {oldest}."]
    if progress.lag:
        sentences.append(f"The read model is {progress.lag} events behind the log.")
    if not owned:
        sentences.append("No process fires timers: start `executions serve` or `executions work`.")
    return " ".join(sentences)
