"""`executions demo`: sends the stories in their time, and says what comes of them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import click
import httpx

from api.cli.client.demo.stories import CATALOG, stories
from api.cli.client.tail import plain
from api.cli.options import at_service
from api.cli.progress_bar import progress
from api.client.address import Address, address, unknown, unreached
from api.client.event_source import authorization
from api.settings import SetupError

EXPECTED = frozenset({409})
"""A retry that has begun by itself needs no start."""


@click.command("demo")
@click.option(
    "--speed", type=click.FloatRange(0.1, 1_000), default=1, help="10 is ten times as fast."
)
@at_service
def demo_command(
    url: str | None, token: str | None, data_dir: Path | None, *, speed: float
) -> None:
    """Record a minute of work by agents, people, both together, and a system.

    Of seven executions one ends well, one is paused for a person, one is retried by itself, one fails, one is
    cancelled, one waits, and one does two dozen small steps. Watch them with `executions tail`, or in the
    dashboard at /ui/. Each call records new ones.
    """
    try:
        where = address(url, token, data_dir)
        with httpx.Client(headers=authorization(where), timeout=30) as client:
            answers = _send_all(where, client, speed)
    except SetupError as error:
        raise click.ClickException(plain(str(error))) from None
    except httpx.HTTPError as error:
        raise click.ClickException(unreached(where.url, str(error))) from None
    done = sum(number for status, number in answers.items() if status < 300)
    click.echo(f"{done} requests recorded. See them at {where.url}/ui/")


def _send_all(where: Address, client: httpx.Client, speed: float) -> Counter[int]:
    answers: Counter[int] = Counter()
    for path, entry in CATALOG:
        response = client.post(f"{where.url}/api{path}", json=entry)
        _require(where, response, EXPECTED)
    run = format(int(time.time()) % 46_656, "x")
    sent = stories(run)
    began = time.monotonic()
    with progress("Recording") as reached:
        for nth, each in enumerate(sent, 1):
            time.sleep(max(0.0, began + each.at / speed - time.monotonic()))
            response = client.post(f"{where.url}/api{each.path}", json=each.body)
            _require(where, response, EXPECTED)
            answers[response.status_code] += 1
            reached(nth, len(sent))
    return answers


def _require(where: Address, response: httpx.Response, expected: frozenset[int]) -> None:
    if response.status_code == 401:
        raise click.ClickException(unknown(where))
    if response.status_code >= 300 and response.status_code not in expected:
        raise click.ClickException(plain(f"{response.request.url.path}: {response.text[:500]}"))
