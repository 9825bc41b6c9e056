"""`executions projections` and `rebuild`: show and rebuild the views of the log."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
from rich.table import Table

from api.cli import rebuild_worker
from api.cli.open_log import run_on_log
from api.cli.progress_bar import progress
from api.cli.tables import print_table
from api.settings import environment_of_children
from domain import registry
from domain.eventlog.store import Store
from domain.integrity.histories import Histories
from domain.integrity.snapshots import rebuild_snapshots
from projections.engine.parallel_rebuild import PartFailed, Processes
from projections.engine.progress import ViewProgress, progress_of
from projections.engine.projection import Projection
from projections.engine.rebuild import RebuildUnderWay, rebuild
from projections.registry import all_projections

SNAPSHOTS = "snapshots"
MOST_PROCESSES = 4
"""Processes by default, at most, as PostgreSQL needs processors, too."""


def show_projections(data_dir: Path | None, *, as_json: bool) -> None:
    """Print every view's position, lag and parked events."""

    async def work(_: str, __: str, store: Store) -> None:
        head, _at = await store.head()
        rows = await progress_of(store)
        if as_json:
            click.echo(json.dumps([{**row._asdict(), "lag": head - row.position} for row in rows]))
        else:
            print_table(_table(rows, head))

    run_on_log(data_dir, work)


def _table(rows: list[ViewProgress], head: int) -> Table:
    table = Table("view", "position", "lag", "parked", title=f"The log is at {head}")
    for row in rows:
        table.add_row(row.view, f"{row.position}", f"{head - row.position}", f"{row.parked}")
    return table


def rebuild_projection(name: str, data_dir: Path | None, processes: int | None) -> None:
    """Rebuild the tables of a view, while the old ones are used; or the snapshots, which are no view."""
    if name == SNAPSHOTS:
        run_on_log(data_dir, _snapshots)
        return
    views: dict[str, Projection] = {view.name: view for view in all_projections(registry.codec())}
    if name not in views:
        known = ", ".join((*views, SNAPSHOTS))
        raise click.ClickException(f"there is no view `{name}`; there are {known}")

    async def work(conninfo: str, schema: str, store: Store) -> None:
        with progress(f"Rebuilding {name}") as reached:
            view, processes_to_start = views[name], workers(processes)
            done = await rebuild(
                conninfo, schema, view, store, reached, processes=processes_to_start
            )
        click.echo(f"{name} is new, up to position {done.position}; {done.parked} events parked")

    try:
        run_on_log(data_dir, work)
    except (RebuildUnderWay, PartFailed) as error:
        raise click.ClickException(str(error)) from None


def workers(number: int | None) -> Processes:
    """The processes that rebuild views: `number`, by default one for each processor, at most `MOST_PROCESSES`."""
    number = number or min(_processors(), MOST_PROCESSES)
    return Processes(number, rebuild_worker.COMMAND, environment_of_children())


async def _snapshots(conninfo: str, schema: str, store: Store) -> None:
    histories = Histories(conninfo, schema)
    try:
        streams = await rebuild_snapshots(store, histories)
    finally:
        histories.close()
    click.echo(f"snapshots are new, of {streams} streams")


def _processors() -> int:
    """The number of processors that this process may use; on other systems than Linux, of all processors."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
