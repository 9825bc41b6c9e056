"""`executions restored`: a log that comes from a backup gets an id of its own."""

from __future__ import annotations

from pathlib import Path

import click

from api.database import database
from api.embedded_postgres.data_dir import DataDir
from api.settings import SetupError, read
from api.telemetry.logging import configure_logging
from domain.errors import Overloaded
from domain.eventlog.setup.log_id import is_served, log_exists, renew_log_id


def give_new_id(data_dir: Path | None) -> None:
    """Give the log a new id, so that consumers of the old one notice that theirs is another."""
    try:
        settings = read(data_dir=data_dir)
        configure_logging(settings.log_level)
        folder = DataDir(settings.data_dir)
        with database(settings, folder) as known:
            if not log_exists(known.owner, settings.schema):
                raise folder.missing(f"log named {settings.schema} (EXECUTIONS_SCHEMA)")
            if is_served(known.owner, settings.schema):
                raise SetupError("a server runs on this log: stop it first")
            known.prepare(settings.schema)
            made = renew_log_id(known.owner, settings.schema)
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    except Overloaded as error:
        raise click.ClickException(error.detail) from None
    click.echo(f"The log is {made} from now on; consumers of the old one are refused.")
