"""`executions projections`, `rebuild` and `work`: looking after what is made of the log."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from api.cli import rebuild_worker
from api.cli.progress_bar import progress
from api.embedded_postgres.data_dir import DataDir
from api.server import (
    Database,
    database,
    keep_running,
    keys_of_log,
    named,
    require_key_of_log,
)
from api.settings import Settings, SetupError, environment_of_children, read
from api.telemetry.logging import configure_logging
from api.work import NO_KEY
from api.work_task import task_of, work_until_stopped
from domain import registry
from domain.errors import Overloaded
from domain.eventlog.connection.timeouts import available
from domain.eventlog.keyring import Keyring
from domain.eventlog.setup.log_id import log_exists
from domain.eventlog.store import Store
from domain.integrity.histories import Histories
from domain.integrity.snapshots import rebuild_snapshots
from projections.engine.parallel_rebuild import PartFailed, Processes
from projections.engine.progress import ViewProgress, progress_of
from projections.engine.projection import Projection
from projections.engine.rebuild import RebuildUnderWay, rebuild
from projections.registry import all_projections

Work = Callable[[str, str, Store], Awaitable[None]]
Check = Callable[[str, Settings, DataDir], None]

SNAPSHOTS = "snapshots"
MOST_PROCESSES = 4
"""Unless more are asked for: PostgreSQL needs processors, too."""


def on_log(data_dir: Path | None, work: Work, check: Check = lambda _, __, ___: None) -> None:
    """Do some work on the log of the settings, whether its server runs or not; never make one."""
    with log_of(data_dir, check) as (known, schema):
        store = Store(known.owner, schema, registry.codec(), Keyring(NO_KEY))
        asyncio.run(opened(store, work(known.owner, schema, store)))


def work(data_dir: Path | None) -> None:
    """Do the work that no request waits for, until a signal ends it."""
    with log_of(data_dir, require_key_of_log, begin_again=True) as (known, _):
        settings = named(read(data_dir=data_dir), known.serving)
        keys = keys_of_log(known.serving, settings, DataDir(settings.data_dir))
        task = task_of(settings, known.serving, keys, known.as_named[:2])
        work_until_stopped(task, lambda: keep_running(known.postgres))


@contextmanager
def log_of(
    data_dir: Path | None, check: Check = lambda _, __, ___: None, *, begin_again: bool = False
) -> Iterator[tuple[Database, str]]:
    """The database of the log, and its schema."""
    try:
        settings = read(data_dir=data_dir)
        configure_logging(settings.log_level)
        folder = DataDir(settings.data_dir)
        with database(settings, folder) as known:
            _require_log(known.owner, settings, folder)
            known.prepare(settings.schema, begin_again=begin_again)
            check(known.owner, settings, folder)
            yield known, settings.schema
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    except Overloaded as error:
        reason = str(error.__cause__ or error.detail).strip()
        raise click.ClickException(
            f"the database is away, or busy for too long: {reason}"
        ) from None


def _require_log(conninfo: str, settings: Settings, folder: DataDir) -> None:
    if log_exists(conninfo, settings.schema):
        return
    if settings.database_url is None:
        raise folder.missing(f"log named {settings.schema} (EXECUTIONS_SCHEMA)")
    raise SetupError(
        f"there is no log in the schema {settings.schema} of this database: are EXECUTIONS_SCHEMA "
        "and EXECUTIONS_DATABASE_URL right?"
    )


async def opened(store: Store, work: Awaitable[None]) -> None:
    """Do some work while a store is open."""
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


def rebuild_projection(name: str, data_dir: Path | None, processes: int | None) -> None:
    """Make a view's tables anew, while the old ones serve; or the snapshots, which are no view."""
    if name == SNAPSHOTS:
        on_log(data_dir, _snapshots)
        return
    views: dict[str, Projection] = {view.name: view for view in all_projections(registry.codec())}
    if name not in views:
        known = ", ".join((*views, SNAPSHOTS))
        raise click.ClickException(f"there is no view `{name}`; there are {known}")

    async def work(conninfo: str, schema: str, store: Store) -> None:
        with progress(f"Rebuilding {name}") as reached:
            view, many = views[name], workers(processes)
            done = await rebuild(conninfo, schema, view, store, reached, processes=many)
        click.echo(f"{name} is new, up to position {done.position}; {done.parked} events parked")

    try:
        on_log(data_dir, work)
    except (RebuildUnderWay, PartFailed) as error:
        raise click.ClickException(str(error)) from None


def workers(number: int | None) -> Processes:
    """So many processes that build views; one for each processor where no number is given."""
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
    """How many this process may use; elsewhere than on Linux, how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
