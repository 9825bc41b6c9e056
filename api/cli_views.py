"""`executions projections`, `rebuild` and `verify`: looking after the read side."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from api import part
from api.data_dir import DataDir
from api.diagnostics import configure_logging
from api.main import migrate
from api.progress import progress
from api.serve import database
from api.settings import SetupError, read
from domain import house
from domain.errors import Overloaded
from domain.keyring import Keyring
from domain.outage import available
from domain.store import Store
from domain.vault import Vault
from projections.executions import Executions
from projections.house import all_views
from projections.kernel import View
from projections.parts import PartFailed, Processes
from projections.rebuild import RebuildUnderWay, rebuild
from projections.runner import ViewProgress, progress_of
from projections.verify import Difference, verify

Work = Callable[[str, str, Store], Awaitable[None]]

MOST_PROCESSES = 4
"""Unless more are asked for: PostgreSQL needs processors, too."""


def on_log(data_dir: Path | None, work: Work) -> None:
    """Do some work on the log of the settings, whether its server runs or not."""
    try:
        settings = read(data_dir=data_dir)
        configure_logging(settings.log_level)
        folder = DataDir.opened(settings.data_dir)
        with database(settings, folder) as (conninfo, _):
            migrate(conninfo, settings.schema)
            keyring = Keyring(Vault(folder.master_key()))
            store = Store(conninfo, settings.schema, house.codec(), keyring)
            asyncio.run(_opened(store, work(conninfo, settings.schema, store)))
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    except Overloaded as error:
        reason = str(error.__cause__ or error.detail).strip()
        raise click.ClickException(
            f"the database is away, or busy for too long: {reason}"
        ) from None


async def _opened(store: Store, work: Awaitable[None]) -> None:
    await store.open()
    try:
        async with available():
            await work
    finally:
        await store.close()


def show_projections(data_dir: Path | None, *, as_json: bool) -> None:
    """Print every view's position, lag and parked events."""

    async def work(_: str, __: str, store: Store) -> None:
        head, _at = await store.head()
        rows = await progress_of(store)
        if as_json:
            click.echo(json.dumps([{**row._asdict(), "lag": head - row.position} for row in rows]))
        else:
            Console().print(_table(rows, head))

    on_log(data_dir, work)


def _table(rows: list[ViewProgress], head: int) -> Table:
    table = Table("view", "position", "lag", "parked", title=f"The log is at {head}")
    for row in rows:
        table.add_row(row.view, f"{row.position}", f"{head - row.position}", f"{row.parked}")
    return table


def rebuild_view(name: str, data_dir: Path | None, processes: int | None) -> None:
    """Make a view's tables anew, while the old ones serve."""
    views: dict[str, View] = {view.name: view for view in all_views(house.codec())}
    if name not in views:
        raise click.ClickException(f"there is no view `{name}`; there are {', '.join(views)}")

    workers = Processes(processes or min(_processors(), MOST_PROCESSES), part.COMMAND)

    async def work(conninfo: str, schema: str, store: Store) -> None:
        with progress(f"Rebuilding {name}") as reached:
            done = await rebuild(conninfo, schema, views[name], store, reached, processes=workers)
        click.echo(f"{name} is new, up to position {done.position}; {done.parked} events parked")

    try:
        on_log(data_dir, work)
    except (RebuildUnderWay, PartFailed) as error:
        raise click.ClickException(str(error)) from None


def _processors() -> int:
    """How many this process may use; elsewhere than on Linux, how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def verify_rows(data_dir: Path | None, *, as_json: bool) -> None:
    """Fold every execution anew and compare it with its row; exit with 1 where they differ."""
    differences: list[Difference] = []

    async def work(conninfo: str, schema: str, store: Store) -> None:
        view = Executions(store.codec)
        with progress("Verifying") as reached:
            async for difference in verify(conninfo, schema, view, store, reached):
                differences.append(difference)
                if not as_json:
                    click.echo(f"{difference.id}: {difference.what}")
        if as_json:
            click.echo(json.dumps([difference._asdict() for difference in differences]))

    on_log(data_dir, work)
    if differences:
        raise click.ClickException(f"{len(differences)} executions differ from their events")
    if not as_json:
        click.echo("Every row is what the events say.")
