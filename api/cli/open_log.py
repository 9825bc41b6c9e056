"""Opens the log of the settings for a command, whether its server is running or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from api.database import Database, database
from api.embedded_postgres.data_dir import DataDir
from api.settings import Settings, SetupError, read
from api.telemetry.logging import configure_logging
from domain import registry
from domain.errors import Overloaded
from domain.eventlog.connection.timeouts import available
from domain.eventlog.keyring import Keyring
from domain.eventlog.keys.no_key import NO_KEY
from domain.eventlog.setup.log_id import log_exists
from domain.eventlog.store import Store

Work = Callable[[str, str, Store], Awaitable[None]]
Check = Callable[[str, Settings, DataDir], None]


def run_on_log(data_dir: Path | None, work: Work, check: Check = lambda _, __, ___: None) -> None:
    """Run `work` on the log of the settings, whether its server is running or not. A missing log is not made."""
    with log_of(data_dir, check) as (known, schema):
        store = Store(known.owner, schema, registry.codec(), Keyring(NO_KEY))
        asyncio.run(run_opened(store, work(known.owner, schema, store)))


@contextmanager
def log_of(
    data_dir: Path | None, check: Check = lambda _, __, ___: None, *, begin_again: bool = False
) -> Iterator[tuple[Database, str]]:
    """The database of the log of the settings, and its schema, while the block runs."""
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


async def run_opened(store: Store, work: Awaitable[None]) -> None:
    """Await `work` while a store is open."""
    await store.open()
    try:
        async with available():
            await work
    finally:
        await store.close()
