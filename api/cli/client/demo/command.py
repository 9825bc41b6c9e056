"""`executions demo`: sends the requests of the scenarios at their times."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from api.cli.client.demo.scenarios import CATALOG, scenarios
from api.cli.client.service_client import open_client, send_request
from api.cli.options import At, at_service
from api.cli.progress_bar import progress

if TYPE_CHECKING:
    from service_executions import Client


@click.command("demo")
@click.option(
    "--speed", type=click.FloatRange(0.1, 1_000), default=1, help="10 is ten times as fast."
)
@at_service
def demo_command(at: At, *, speed: float) -> None:
    """Record a minute of work by agents, people, both together, and a system.

    Of seven executions one completes, one is paused for a person, one is retried automatically, one fails, one is
    cancelled, one waits, and one does two dozen small steps. Watch them with `executions tail`, or in the
    dashboard at /ui/. Each call records new executions.
    """
    with open_client(at) as client:
        done = _send_all(client, speed)
        click.echo(f"{done} requests recorded. See them at {client.url}/ui/")


def _send_all(client: Client, speed: float) -> int:
    for path, entry in CATALOG:
        _send(client, path, entry)
    sent = scenarios(format(int(time.time()) % 46_656, "x"))
    began = time.monotonic()
    done = 0
    with progress("Recording") as reached:
        for nth, each in enumerate(sent, 1):
            time.sleep(max(0.0, began + each.at / speed - time.monotonic()))
            done += _send(client, each.path, each.body)
            reached(nth, len(sent))
    return done


def _send(client: Client, path: str, members: Any) -> bool:
    """Send a request, and return whether it was recorded. It is not where an earlier call has created the entry, or the
    engine has started the execution.
    """
    from service_executions import AlreadyExists, IllegalTransition

    with suppress(AlreadyExists, IllegalTransition):
        send_request(client, "POST", path, members)
        return True
    return False
