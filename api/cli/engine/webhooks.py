"""`executions webhooks`: prints the health of webhooks, or redelivers events that were given up."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from api.cli.open_log import run_on_log
from api.cli.tables import print_table, whole_column
from domain.eventlog.store import Store
from domain.json_forms import parse_time
from projections.deliveries import requests
from projections.deliveries.health import WebhookHealth, health_of
from projections.deliveries.totals import DeliveryTotals, delivery_totals
from workers.ownership import without_owner

EVER = "1970-01-01T00:00:00Z"
COLUMNS = ("waiting", "behind", "given up", "lag", "last call")


def show_webhooks(
    data_dir: Path | None, limit: int, webhook: str | None, since: str | None, *, as_json: bool
) -> None:
    """Print the webhooks, or send events again that were given up for one; exit with 1 where calls fail."""
    if since is not None and webhook is None:
        raise click.UsageError("--since goes with --redeliver alone")
    failing: list[bool] = []

    async def work(_: str, schema: str, store: Store) -> None:
        now = datetime.now(UTC)
        if webhook is not None:
            async with store.reader() as connection:
                known = await requests.find(connection, webhook)
                if known is None:
                    raise click.ClickException(f"there is no webhook `{webhook}`")
                if known.disabled:
                    raise click.ClickException(f"webhook `{webhook}` is disabled: enable it first")
                begin = _time(since or EVER)
                again = await requests.redeliver_failed(connection, webhook, begin, now)
            click.echo(json.dumps({"redelivered": again}) if as_json else f"{again} sent again")
            return
        async with store.reader() as connection:
            found = await delivery_totals(connection, now, limit)
            health = await health_of(connection, found.lags)
            owned = "webhooks" not in await without_owner(connection, schema)
        failing.append(found.failing > 0)
        if as_json:
            click.echo(json.dumps(_document(found, health, owned=owned)))
        else:
            print_table(_table(found, health))
            click.echo(_summary(found, owned=owned))

    run_on_log(data_dir, work)
    if any(failing):
        raise click.exceptions.Exit(1)


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None


def _document(
    found: DeliveryTotals, health: dict[str, WebhookHealth], *, owned: bool
) -> dict[str, Any]:
    return {
        "owned": owned,
        "waiting": found.waiting,
        "failing": found.failing,
        "behind": found.behind,
        "oldestSeconds": round(found.oldest, 3),
        "webhooks": [
            {"webhook": webhook, "lagSeconds": round(lag, 3), **health[webhook].document()}
            for webhook, lag in found.lags.items()
            if webhook in health
        ],
    }


def _table(found: DeliveryTotals, health: dict[str, WebhookHealth]) -> Table:
    table = Table(whole_column("webhook"), whole_column("state"), *COLUMNS)
    for webhook, lag in found.lags.items():
        if (of_it := health.get(webhook)) is not None:
            last = (
                of_it.fault
                or of_it.error
                or ("" if of_it.status is None else f"answered {of_it.status}")
            )
            numbers = (str(of_it.waiting), str(of_it.behind), str(of_it.given_up), f"{lag:.0f} s")
            table.add_row(webhook, of_it.state, *numbers, last)
    return table


def _summary(found: DeliveryTotals, *, owned: bool) -> str:
    sentences = [f"{found.waiting} events wait, the oldest for {found.oldest:.0f} s."]
    if found.behind:
        sentences.append(f"Webhooks that still read the past: {found.behind}.")
    sentences.append(f"Calls of {found.failing} webhooks fail.")
    if not owned:
        sentences.append(
            "No process calls webhooks: start `executions serve` or `executions work`."
        )
    return " ".join(sentences)
