"""`executions relay`: publishes the events of the log to edges, through NATS."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.command_group import CommandGroup
from api.cli.options import DATA_DIR

DURATION_HELP = "How long events stay in NATS; edges ask the relay for older ones."


@click.group("relay", cls=CommandGroup)
def relay_group() -> None:
    """Publish the log to NATS, for edges (`executions serve --from-nats`).

    Use it for about fifty or more servers that only send streams, or for servers that are far from the database.
    """


@relay_group.command("nats")
@click.option("--url", help="nats://host:4222, or several, comma-separated (EXECUTIONS_NATS_URL).")
@click.option(
    "--hours",
    type=click.FloatRange(0.01, 24 * 365),
    default=24.0,
    show_default=True,
    help=DURATION_HELP,
)
@click.option(
    "--gib",
    type=click.FloatRange(0.01, 100_000),
    default=10.0,
    show_default=True,
    help="The room that events may take in NATS, in GiB.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    default=1,
    show_default=True,
    help="The number of servers of a cluster that store each event.",
)
@click.option(
    "--begin-again",
    is_flag=True,
    help="Delete the stream in NATS first, and begin at the end of the log.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65_535),
    help="The port for Prometheus, on this machine.",
)
@DATA_DIR
def nats(
    *,
    url: str | None,
    hours: float,
    gib: float,
    replicas: int,
    metrics_port: int | None,
    data_dir: Path | None,
    begin_again: bool,
) -> None:
    """Publish each event once, until Ctrl-C.

    The sequence of a message in NATS is the position of its event. Content stays sealed. Several relays may run: one
    publishes, the others stand by, and all answer the requests of edges. After a crash publishing continues at the end of
    the stream.
    """
    from api.cli.relay.nats import RetentionOptions, run

    run(
        url, RetentionOptions(hours, gib, replicas), data_dir, metrics_port, begin_again=begin_again
    )


@relay_group.command("key")
@DATA_DIR
def key(data_dir: Path | None) -> None:
    """Print the edge key, for EXECUTIONS_EDGE_KEY.

    It decrypts the sealed fields of events that edges send, and nothing else: no backup, and no other log. It does not
    change with the master key.
    """
    from api.cli.relay.nats import print_key

    print_key(data_dir)
