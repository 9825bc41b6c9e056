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
from projections.diagnosis.cluster_rules import findings, unreachable

LEADERS = frozenset({"primary", "master"})
"""The roles of a primary in answers of Patroni."""
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
        asked = [_ask(address) for address in addresses]
        nodes = [node for node in asked if isinstance(node, Patroni)]
        found, judged = _inspect(settings.database_url, settings.schema, nodes)
        judged += [node for node in asked if isinstance(node, ClusterFinding)]
    except (SetupError, Overloaded) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        members = {"findings": [each._asdict() for each in judged]}
        click.echo(json.dumps(members | (_document(found) if found else {})))
    else:
        for each in judged:
            click.echo(f"{each.severity}: {each.what}.\n  → {each.advice}.")
        if not judged:
            click.echo("Nothing unsafe was found.")
        if not addresses:
            click.echo("Patroni was not asked: name its nodes with --patroni.")
        click.echo(
            "Not checked: whether the watchdog resets a machine, and whether HAProxy closes connections."
        )
    if judged:
        raise click.exceptions.Exit(1)


def _inspect(
    conninfo: str, schema: str, nodes: Sequence[Patroni]
) -> tuple[InspectedCluster | None, list[ClusterFinding]]:
    """Inspect the cluster, and judge it; None and what Patroni tells where the database cannot be reached.

    Raises:
        Overloaded: the database cannot be reached, and no Patroni answers.
    """
    try:
        found = InspectedCluster(measure(conninfo, schema), nodes)
    except Overloaded as error:
        if not nodes:
            raise
        return None, list(unreachable(str(error), nodes))
    return found, list(findings(found))


def _ask(address: str) -> Patroni | ClusterFinding:
    """The state of a node and the configuration of the cluster, from Patroni; or the finding that it does not answer."""
    try:
        with httpx.Client(base_url=address, timeout=WITHIN) as client:
            state, configuration = client.get("/patroni").json(), client.get("/config").json()
            version = str(state["patroni"]["version"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        what = f"{address} does not answer as Patroni: {error!r}"
        return ClusterFinding("unavailable", what, "bring that node back")
    leads = state.get("role") in LEADERS
    return Patroni(version, configuration, bool(state.get("watchdog_failed")), leads)


def _document(found: InspectedCluster) -> dict[str, Any]:
    database = found.database
    return {
        "postgres": dict(database.settings),
        "standbys": [each._asdict() for each in database.standbys],
        "slots": database.slots,
        "patroni": [node.version for node in found.patroni],
    }
