"""A cluster of PostgreSQL as it was found: what was measured in it, and what its Patroni says."""

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
"""Whether WAL waits for its archive. `pg_stat_archiver` counts no command that is not found."""
MANY_HOSTS = "target_session_attrs"
Severity = Literal["unsafe", "unavailable"]


class ClusterFinding(NamedTuple):
    """What is wrong: that acknowledged commands may be lost (`unsafe`), or that the cluster is away for longer than
    it must (`unavailable`); and what to do.
    """

    severity: Severity
    what: str
    advice: str


class ConnectedStandby(NamedTuple):
    """A standby that is connected; commits wait for one that is `sync` or `quorum`."""

    name: str
    state: str

    @property
    def counts(self) -> bool:
        return self.state in {"sync", "quorum"}


class ServedDatabase(NamedTuple):
    """What the connection string of the servers leads to."""

    settings: Mapping[str, str]
    standbys: Sequence[ConnectedStandby]
    slots: int
    standby: bool
    pooled: bool
    hosts: int = 1
    read_write: bool = True
    monitors: bool = True
    """Whether the role may see standbys, and what waits for the archive."""
    not_archived: bool = False


class Patroni(NamedTuple):
    """What one node says: its version, and the configuration of all."""

    version: str
    configuration: Mapping[str, Any]
    watchdog_failed: bool = False


class InspectedCluster(NamedTuple):
    """All of it; no `patroni` where none was asked."""

    database: ServedDatabase
    patroni: Sequence[Patroni] = ()


def measure(conninfo: str, schema: str) -> ServedDatabase:
    """Measure what a connection string leads to.

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
            # A pooler has a backend of its own choice, and drops the options of a session.
            pooled=pid != connection.info.backend_pid or path != schema,
            hosts=len(str(words.get("host") or "").split(",")),
            read_write=words.get(MANY_HOSTS) in {"read-write", "primary"},
            monitors=monitors,
            not_archived=monitors and _rows(connection, NOT_ARCHIVED)[0][0],
        )


def _rows(connection: psycopg.Connection, query: str) -> list[Any]:
    return connection.execute(query.encode()).fetchall()
