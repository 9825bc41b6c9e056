"""`executions restored`: gives a restored log a new id, and finds its archive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from api.cli.open_log import log_of
from api.embedded_postgres.data_dir import DataDir
from api.settings import Settings, SetupError
from domain.eventlog.archive.files import ArchiveFailed, ArchiveFiles
from domain.eventlog.setup.log_id import is_served, renew_log_id
from projections.log_lines.archive.location import move_location


def give_new_id(data_dir: Path | None) -> None:
    """Give the log a new id, so that consumers of the former log notice that it is another one. Its archive is read where
    the settings say from now on, if its files are there.
    """
    archives: list[ArchiveFiles] = []

    def check(_: str, settings: Settings, __: DataDir) -> None:
        archives.append(ArchiveFiles(settings.archive))

    with log_of(data_dir, check) as (known, schema):
        if is_served(known.owner, schema):
            raise SetupError(
                "a server, a work process or a relay runs on this log: stop all of them first"
            )
        made = renew_log_id(known.owner, schema)
        try:
            if asyncio.run(move_location(known.owner, schema, archives[0])):
                click.echo(f"Its archive is {archives[0].location} from now on.")
        except ArchiveFailed as error:
            click.echo(f"Warning: {error}", err=True)
    click.echo(f"The log is {made} from now on; consumers of the old one are refused.")
