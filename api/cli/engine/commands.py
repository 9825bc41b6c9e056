"""The commands that show the work of the engine: timers and webhooks."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.options import DATA_DIR

ROWS = click.IntRange(1, 10_000)


@click.command("timers")
@DATA_DIR
@click.option("--limit", type=ROWS, default=20, show_default=True, help="How many to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def timers_command(data_dir: Path | None, limit: int, *, as_json: bool) -> None:
    """Show the next retries, timeouts and checkpoints, the earliest first.

    Timers that are late come first. Exits with 1 where some are late by more than a few seconds. No timer fires while
    neither `executions serve` nor `executions work` is running.
    It reads the database, not the service, so that it works while no service answers.
    """
    from api.cli.engine.timers import show_timers

    show_timers(data_dir, limit, as_json=as_json)


@click.command("webhooks")
@DATA_DIR
@click.option("--limit", type=ROWS, default=50, show_default=True, help="How many to show.")
@click.option("--redeliver", "webhook", help="Send again what was given up for this webhook.")
@click.option("--since", help="Since then alone, with --redeliver.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def webhooks_command(
    data_dir: Path | None, limit: int, webhook: str | None, since: str | None, *, as_json: bool
) -> None:
    """Show the webhooks with waiting events or failing calls, those that have waited longest first.

    `lag` is the age of the oldest waiting event, in seconds. Exits with 1 where calls fail. No webhook is called while
    neither `executions serve` nor `executions work` is running.
    It reads the database, not the service, so that it works while no service answers.
    """
    from api.cli.engine.webhooks import show_webhooks

    show_webhooks(data_dir, limit, webhook, since, as_json=as_json)
