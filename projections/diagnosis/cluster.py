"""Measures a PostgreSQL cluster: the settings and standbys of its primary, and the configuration of Patroni."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from domain.eventlog.sessions import connect

NAMES = (
    *("synchronous_commit", "synchronous_standby_names", "fsync", "full_page_writes"),
    *("wal_log_hints", "data_checksums", "max_slot_wal_keep_size", "archive_mode"),
)
SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
STANDBYS = "SELECT application_name, sync_state FROM pg_stat_replication WHERE state = 'streaming'"
SLOTS = "SELECT count(*) FROM pg_replication_slots"
ME = "SELECT pg_is_in_recovery(), pg_backend_pid(), current_setting('search_path')"
SEES = "SELECT pg_has_role('pg_monitor', 'USAGE')"
NOT_ARCHIVED = """SELECT count(*) > 0 FROM pg_ls_archive_statusdir()
    WHERE name LIKE '%.ready' AND modification < now() - interval '10 minutes'"""
"""Whether WAL files have waited for 10 minutes to be archived. `pg_stat_archiver` would not count a missing
`archive_command` as a failure."""
MANY_HOSTS = "target_session_attrs"
Severity = Literal["unsafe", "unavailable"]


class ClusterFinding(NamedTuple):
    """A fault and the advice for it. `unsafe`: acknowledged commands may be lost. `unavailable`: the cluster may be
    unavailable for longer than necessary.
    """

    severity: Severity
    what: str
    advice: str


class ConnectedStandby(NamedTuple):
    """A connected standby. Commits wait for standbys whose state is `sync` or `quorum`, which therefore count."""

    name: str
    state: str

    @property
    def counts(self) -> bool:
        return self.state in {"sync", "quorum"}


class ServedDatabase(NamedTuple):
    """The database to which the connection string of the servers leads, and properties of the string itself."""

    settings: Mapping[str, str]
    standbys: Sequence[ConnectedStandby]
    slots: int
    standby: bool
    pooled: bool
    hosts: int = 1
    read_write: bool = True
    monitors: bool = True
    """Whether the role may see the standbys, and the WAL files that wait to be archived."""
    not_archived: bool = False


class Patroni(NamedTuple):
    """The answer of Patroni on one node: its version, and the configuration of the cluster."""

    version: str
    configuration: Mapping[str, Any]
    watchdog_failed: bool = False
    leads: bool = True


class InspectedCluster(NamedTuple):
    """The measured database, and the answers of the Patroni nodes that were asked, if any."""

    database: ServedDatabase
    patroni: Sequence[Patroni] = ()


def measure(conninfo: str, schema: str) -> ServedDatabase:
    """Measure the database to which a connection string leads.

    Raises:
        Overloaded: the database cannot be reached.
    """
    words = conninfo_to_dict(conninfo)
    with connect(conninfo, schema) as connection:
        [(standby, pid, path)] = _rows(connection, ME)
        [(monitors,)] = _rows(connection, SEES)
        return ServedDatabase(
            dict(connection.execute(SETTINGS, (list(NAMES),)).fetchall()),
            [ConnectedStandby(*row) for row in _rows(connection, STANDBYS)],
            _rows(connection, SLOTS)[0][0],
            standby,
            # A pooler chooses another backend for each transaction, and drops the options of a session.
            pooled=pid != connection.info.backend_pid or path != schema,
            hosts=len(str(words.get("host") or "").split(",")),
            read_write=words.get(MANY_HOSTS) in {"read-write", "primary"},
            monitors=monitors,
            not_archived=monitors and _rows(connection, NOT_ARCHIVED)[0][0],
        )


def _rows(connection: psycopg.Connection, query: str) -> list[Any]:
    return connection.execute(query.encode()).fetchall()
