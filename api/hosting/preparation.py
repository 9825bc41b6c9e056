"""Prepares a hosted log to be served: its settings, connection string, keys and id."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import NamedTuple

from api.cells.registry import LogLocation
from api.database import Database
from api.ready_logs import prepare_log
from api.settings import Settings
from domain.eventlog.setup.log_secret import LogKeys


class Deployment(NamedTuple):
    """The common settings of all logs that are served: the database of logs that name no other (`known`), the
    administrator's token, and the master key.
    """

    settings: Settings
    known: Database
    token: str
    master_key: bytes


class Prepared(NamedTuple):
    """A log that can be served: its settings, connection string, keys and id."""

    settings: Settings
    conninfo: str
    keys: LogKeys
    of_log: str


def prepare(deployment: Deployment, name: str, location: LogLocation) -> Prepared:
    """Make the missing tables of a log, and read its keys and id. Raises the errors of `prepare_log`."""
    ready = prepare_log(deployment.known, deployment.master_key, name, location)
    return Prepared(settings_of(deployment, name, location), *ready)


def settings_of(deployment: Deployment, name: str, location: LogLocation) -> Settings:
    """The settings of one log: its files are in a folder of its own, and it gets the master key from the deployment."""
    common = deployment.settings
    return replace(
        common,
        log=name,
        schema=location.schema,
        data_dir=common.data_dir / "logs" / name,
        archive_url=f"{common.archive.rstrip('/')}/{name}",
        master_key=b64encode(deployment.master_key).decode(),
        master_key_command=None,
        read_database_url=None,
        public_url=None if location.hosts else common.public_url,
        witnesses="",
    )
