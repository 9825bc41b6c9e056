"""Compares the keys and the name of a log with the settings and the data directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from api.embedded_postgres.data_dir import DataDir
from api.embedded_postgres.master_key import describe_source, is_elsewhere, master_key
from api.settings import Settings, SetupError
from domain.eventlog.encryption import Vault, WrongKey
from domain.eventlog.keys.rotation import RotationUnderWay
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.setup.log_name import OtherName, settle_log_name
from domain.eventlog.setup.log_secret import LogKeys, log_secret


def require_key_of_log(conninfo: str, settings: Settings, folder: DataDir) -> None:
    """Check that the settings or the folder have the master key of a log. Raises SetupError where they have not.

    A new key is made only for a log that has none, at the first start: for another log it would hide that the right
    key is missing.
    """
    known: Callable[[], bytes] = partial(master_key, settings, DataDir(folder.path))
    made: Callable[[], bytes] = partial(master_key, settings, folder)
    if is_elsewhere(settings):
        known = made = partial(bytes, known())  # a command may take long, and others wait below
    try:
        settle_master_key(conninfo, settings.schema, known, made if folder.may_make else None)
    except RotationUnderWay:
        raise SetupError(
            "the master key of this log is being changed: run `executions keys rotate-master` to its end first"
        ) from None
    except WrongKey as error:
        interrupted = folder.next_master_key_file.exists() and not is_elsewhere(settings)
        cure = (
            "a change of it was broken off: run `executions keys rotate-master` again"
            if interrupted
            else "put the right one there, from the data directory of another server of this database or a backup"
        )
        raise SetupError(
            f"{describe_source(settings, folder)} is not the key that this log was sealed with ({error}): {cure}"
        ) from None


def settle_name(settings: Settings, conninfo: str) -> Settings:
    """The settings with the name of the log, if it has one. A log without a name gets the name in the settings.

    Raises:
        SetupError: the log has another name than the settings.
    """
    try:
        return replace(settings, log=settle_log_name(conninfo, settings.schema, settings.log))
    except OtherName as error:
        raise SetupError(f"log (EXECUTIONS_LOG): {error}") from None


def keys_of_log(conninfo: str, settings: Settings, folder: DataDir) -> LogKeys:
    """The keys of a log, after `require_key_of_log`.

    Raises:
        SetupError: the master key is missing, or the secret of the log is damaged.
    """
    master = master_key(settings, folder)
    try:
        return LogKeys(master, log_secret(conninfo, settings.schema, Vault(master)))
    except WrongKey as error:
        raise SetupError(f"{error}: restore the table master_key from a backup") from None
