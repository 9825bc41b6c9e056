"""A log of a deployment, made ready to be served: its tables, its name and its keys."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import NamedTuple

from api.cells.registry import LogPlace
from api.database import Database
from api.embedded_postgres.data_dir import DataDir
from api.log_keys import keys_of_log, named, require_key_of_log
from api.settings import Settings
from domain.eventlog.setup.log_id import log_id
from domain.eventlog.setup.log_secret import LogKeys


class Deployment(NamedTuple):
    """What all its logs have in common: settings, data directory, the database where no other one is named, the
    administrator's token, and the master key.
    """

    settings: Settings
    folder: DataDir
    known: Database
    token: str
    master_key: bytes


class Prepared(NamedTuple):
    """A log that can be served: its settings, connection string, keys and id."""

    settings: Settings
    conninfo: str
    keys: LogKeys
    of_log: str


def prepare(deployment: Deployment, name: str, place: LogPlace) -> Prepared:
    """Make what is missing of a log where it is by now, and find out what its server has to know. It blocks, for as long as its
    database takes.

    Raises:
        Overloaded: the database is away.
        SetupError: the log has another name or another master key.
    """
    settings = settings_of(deployment, name, place)
    known = database_at(deployment.known, place).located(place.schema)
    known.prepare(place.schema)
    require_key_of_log(known.serving, settings, deployment.folder)
    settings = named(settings, known.serving)
    keys = keys_of_log(known.serving, settings, deployment.folder)
    return Prepared(settings, known.serving, keys, log_id(known.serving, place.schema))


def settings_of(deployment: Deployment, name: str, place: LogPlace) -> Settings:
    """Those of one log: what it keeps in files is in a folder of its own, and no key is asked for again."""
    common = deployment.settings
    return replace(
        common,
        log=name,
        schema=place.schema,
        data_dir=common.data_dir / "logs" / name,
        archive_url=f"{common.archive.rstrip('/')}/{name}",
        master_key=b64encode(deployment.master_key).decode(),
        master_key_command=None,
        read_database_url=None,
        public_url=None if place.hosts else common.public_url,
        witnesses="",
    )


def database_at(known: Database, place: LogPlace) -> Database:
    """The database of a place, where `known` is that of the settings."""
    if place.url is None:
        return Database(known.owner, known.serving)
    return Database(place.owner_url or place.url, place.url)
