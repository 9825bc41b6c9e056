"""`executions keys rotate-master`: changes the master key, or continues an interrupted change."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.open_log import log_of
from api.cli.progress_bar import progress
from api.embedded_postgres.data_dir import DataDir
from api.embedded_postgres.master_key import (
    describe_source,
    is_elsewhere,
    key_of_command,
    master_key,
)
from api.settings import Settings, SetupError, read
from domain.eventlog.encryption import Vault, WrongKey
from domain.eventlog.keys.rotation import NoMasterKey, RotationUnderWay, begin, finish, rewrap
from domain.eventlog.setup.log_id import is_served

SERVED = "a server or a worker runs on this log (or another command works on it): stop all of them, and run this again"


def rotate(data_dir: Path | None, to_command: str | None) -> None:
    """Change the master key of the log of the settings."""
    with log_of(data_dir) as (known, schema):
        settings = read(data_dir=data_dir)
        folder = DataDir(settings.data_dir)
        _require_unserved(known.owner, schema)
        before = Vault(master_key(settings, folder))
        after = _new_key(settings, folder, to_command)
        _rotate(known.owner, schema, before, after)
        if to_command is None:
            click.echo(f"The former key is in {folder.adopt_next_master_key(before.id)}.")
        else:
            click.echo(
                "Set EXECUTIONS_MASTER_KEY_COMMAND to the command before you start a server."
            )


def _new_key(settings: Settings, folder: DataDir, to_command: str | None) -> Vault:
    if to_command is not None:
        return Vault(key_of_command(to_command))
    if is_elsewhere(settings):
        raise SetupError(
            f"the master key comes from {describe_source(settings, folder)}: say with --to-command where the new one comes from"
        )
    return Vault(folder.next_master_key())


def _rotate(conninfo: str, schema: str, before: Vault, after: Vault) -> None:
    try:
        more = begin(conninfo, schema, before, after)
    except (NoMasterKey, RotationUnderWay, WrongKey) as error:
        raise SetupError(f"{error.detail.rstrip('.')}: nothing was changed") from None
    _require_unserved(conninfo, schema)  # no server can have started since `begin`
    if more:
        with progress("Wrapping data keys") as reached:
            done = rewrap(conninfo, schema, before, after, lambda keys: reached(keys, keys))
        finish(conninfo, schema, after)
        rest = f"; {done.damaged} are damaged, and stay as they are" if done.damaged else ""
        click.echo(f"{done.keys} data keys are wrapped by the master key {after.id}{rest}.")
    else:
        click.echo(f"The log has the master key {after.id} already.")


def _require_unserved(conninfo: str, schema: str) -> None:
    if is_served(conninfo, schema):
        raise SetupError(SERVED)
