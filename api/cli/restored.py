"""`executions restored`: gives a restored log a new id."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.open_log import log_of
from api.settings import SetupError
from domain.eventlog.setup.log_id import is_served, renew_log_id


def give_new_id(data_dir: Path | None) -> None:
    """Give the log a new id, so that consumers of the former log notice that it is another one."""
    with log_of(data_dir) as (known, schema):
        if is_served(known.owner, schema):
            raise SetupError(
                "a server, a work process or a relay runs on this log: stop all of them first"
            )
        made = renew_log_id(known.owner, schema)
    click.echo(f"The log is {made} from now on; consumers of the old one are refused.")
