"""`executions cluster …`."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.command_group import CommandGroup
from api.cli.options import DATA_DIR


@click.group(name="cluster", cls=CommandGroup)
def cluster_group() -> None:
    """Check the PostgreSQL cluster of the log."""


@cluster_group.command()
@click.option(
    "--patroni",
    "addresses",
    multiple=True,
    metavar="URL",
    help="Address of a node's Patroni, such as http://10.0.0.11:8008; may be given for each node.",
)
@DATA_DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(addresses: tuple[str, ...], data_dir: Path | None, *, as_json: bool) -> None:
    """Find what may lose acknowledged commands, or make the cluster unavailable for longer than necessary.

    It checks the database of EXECUTIONS_DATABASE_URL, by the connection that servers use, and Patroni where it is
    named. It changes nothing. Exits with 1 where it finds something.
    """
    from api.cli.cluster.check import check_cluster

    check_cluster(addresses, data_dir, as_json=as_json)
