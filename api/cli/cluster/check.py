"""`executions cluster check`: finds unsafe settings and states of the PostgreSQL cluster of the log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import httpx

from api.settings import SetupError, read
from domain.errors import Overloaded
from projections.diagnosis.cluster import ClusterFinding, InspectedCluster, Patroni, measure
from projections.diagnosis.cluster_rules import findings

WITHIN = 5.0
"""Seconds for an answer of Patroni."""


def check_cluster(addresses: Sequence[str], data_dir: Path | None, *, as_json: bool) -> None:
    """Print the findings; exit with 1 where there are any."""
    try:
        settings = read(data_dir=data_dir)
        if settings.database_url is None:
            raise SetupError(
                "the embedded database is no cluster: name one in EXECUTIONS_DATABASE_URL"
            )
        measured = measure(settings.database_url, settings.schema)
        asked = [_ask(address) for address in addresses]
    except (SetupError, Overloaded) as error:
        raise click.ClickException(str(error)) from None
    found = InspectedCluster(measured, [node for node in asked if isinstance(node, Patroni)])
    judged = [*findings(found), *(node for node in asked if isinstance(node, ClusterFinding))]
    if as_json:
        click.echo(
            json.dumps({"findings": [each._asdict() for each in judged], **_document(found)})
        )
    else:
        for each in judged:
            click.echo(f"{each.severity}: {each.what}.\n  → {each.advice}.")
        if not judged:
            click.echo("Nothing unsafe was found.")
        if not addresses:
            click.echo("Patroni was not asked: name its nodes with --patroni.")
    if judged:
        raise click.exceptions.Exit(1)


def _ask(address: str) -> Patroni | ClusterFinding:
    """The state of a node and the configuration of the cluster, from Patroni; or the finding that it does not answer."""
    try:
        with httpx.Client(base_url=address, timeout=WITHIN) as client:
            state, configuration = client.get("/patroni").json(), client.get("/config").json()
            version = str(state["patroni"]["version"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        what = f"{address} does not answer as Patroni: {error!r}"
        return ClusterFinding("unavailable", what, "bring that node back")
    return Patroni(version, configuration, bool(state.get("watchdog_failed")))


def _document(found: InspectedCluster) -> dict[str, Any]:
    database = found.database
    return {
        "postgres": dict(database.settings),
        "standbys": [each._asdict() for each in database.standbys],
        "slots": database.slots,
        "patroni": [node.version for node in found.patroni],
    }
