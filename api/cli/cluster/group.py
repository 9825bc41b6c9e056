"""`executions cluster …`."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.options import DATA_DIR


@click.group(name="cluster")
def cluster_group() -> None:
    """Look at the cluster of PostgreSQL that the log is on."""


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
    """Say what may lose commands that were acknowledged, or keeps the cluster away for longer than it must.

    It looks at the database of EXECUTIONS_DATABASE_URL, by the way that servers take to it, and asks Patroni where
    it is named. It changes nothing. Exits with 1 where it finds something.
    """
    from api.cli.cluster.check import check_cluster

    check_cluster(addresses, data_dir, as_json=as_json)
