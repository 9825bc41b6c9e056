"""Measures PostgreSQL and the tables of a log, without reading whole tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.sessions import ONE_MOMENT
from domain.eventlog.store import Store

SIZES = """SELECT c.relname::text, pg_table_size(c.oid)::bigint, pg_indexes_size(c.oid)::bigint,
        greatest(c.reltuples, 0)::bigint, coalesce(s.n_dead_tup, 0)::bigint
    FROM pg_class AS c LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    ORDER BY pg_total_relation_size(c.oid) DESC"""
OF_DATABASE = "SELECT pg_database_size(current_database())"
OF_LOG = """SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'm')"""
HEAD = "SELECT coalesce((SELECT position FROM head), 0)"
VIEWS = """SELECT b.view, b.position, (SELECT count(*) FROM parked AS p WHERE p.view = b.view)
    FROM bookmarks AS b ORDER BY b.view"""
SETTINGS = """SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit',
    'full_page_writes', 'autovacuum', 'max_connections', 'max_wal_size', 'server_version')"""
SERVER = """SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    (SELECT coalesce(extract(epoch FROM max(now() - xact_start)), 0)::float8 FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
    (SELECT count(*) FROM pg_locks WHERE NOT granted),
    (SELECT max(age(datfrozenxid))::bigint FROM pg_database),
    (SELECT coalesce(sum(checksum_failures), 0)::bigint FROM pg_stat_database),
    (SELECT count(*) FROM pg_replication_slots WHERE NOT active)"""
OVERDUE = """SELECT count(*), coalesce(extract(epoch FROM now() - min(due)), 0)::float8 FROM timers
    WHERE due <= now() - interval '1 minute'"""
KEY = """SELECT coalesce(pg_relation_size(to_regclass('events_pkey')), 0)::bigint, coalesce((SELECT avg_width
        FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'events'
        AND attname = 'originator_id'), 0)"""
EXPIRED = """SELECT count(*) FROM idempotency_keys WHERE at < now() - interval '26 hours'"""


class TableSize(NamedTuple):
    """A table: the bytes of its rows and of its indexes, and the numbers of live and dead rows as PostgreSQL estimates."""

    name: str
    rows_bytes: int
    index_bytes: int
    rows: int
    dead: int

    @property
    def bytes(self) -> int:
        """The bytes of rows and indexes together."""
        return self.rows_bytes + self.index_bytes


class ViewState(NamedTuple):
    """The position of a projection, and the number of its parked events."""

    name: str
    position: int
    parked: int


class ServerState(NamedTuple):
    """The state of PostgreSQL: the number of client connections, the age of the oldest transaction in seconds, the number
    of waiting lock requests, the age of the oldest transaction id, and the numbers of failed checksums and of idle
    replication slots.
    """

    connections: int
    oldest_transaction: float
    waiting_locks: int
    transaction_age: int
    checksum_failures: int
    idle_slots: int


class WebhookCalls(NamedTuple):
    """The number of events that wait for webhooks, the number of failing webhooks, and the seconds for which the oldest
    event has waited.
    """

    waiting: int = 0
    failing: int = 0
    oldest: float = 0.0


class KeySize(NamedTuple):
    """The bytes of the index of events by stream and version, and of an average stream name; 0 if not known yet."""

    bytes: int = 0
    name_bytes: int = 0


class Measurements(NamedTuple):
    """All measurements of a log.

    `overdue` is the number of timers that were due more than a minute ago, and the lateness of the first in seconds.
    `disk_free` is in bytes; None if the database is on another machine. `archive_missing` are the archive files that are
    missing or incomplete. `audit_faults` is the number of faults that the auditor has found.
    """

    head: int
    tables: Sequence[TableSize]
    views: Sequence[ViewState]
    settings: dict[str, str]
    server: ServerState
    expired_replies: int
    overdue: tuple[int, float] = (0, 0.0)
    disk_free: int | None = None
    webhooks: WebhookCalls = WebhookCalls()
    archive_missing: Sequence[str] = ()
    audit_faults: int = 0
    key: KeySize = KeySize()

    def table(self, name: str) -> TableSize:
        """Return the size of a table; zeros if there is no such table."""
        return next((t for t in self.tables if t.name == name), TableSize(name, 0, 0, 0, 0))

    @property
    def bytes(self) -> int:
        """The bytes of all tables of the log."""
        return sum(table.bytes for table in self.tables)


async def measure(store: Store) -> Measurements:
    """Measure a log and its server.

    Raises:
        Overloaded: the database is unavailable.
    """
    async with store.reader() as connection, connection.transaction():
        # Else views would be ahead of a head that was read before.
        await connection.execute(ONE_MOMENT)
        return Measurements(
            (await _rows(connection, HEAD))[0][0],
            [TableSize(*row) for row in await _rows(connection, SIZES)],
            [ViewState(*row) for row in await _rows(connection, VIEWS)],
            dict(await _rows(connection, SETTINGS)),
            ServerState(*(await _rows(connection, SERVER))[0]),
            (await _rows(connection, EXPIRED))[0][0],
            (await _rows(connection, OVERDUE))[0],
            key=KeySize(*(await _rows(connection, KEY))[0]),
        )


async def _rows(connection: AsyncConnection, query: str) -> list[Any]:
    return await (await connection.execute(query)).fetchall()


async def database_bytes(connection: AsyncConnection, *, of_log: bool = False) -> int:
    """Return the bytes that the database takes on its disk; with `of_log`, only those of the tables of the log."""
    [(size,)] = await _rows(connection, OF_LOG if of_log else OF_DATABASE)
    return int(size)
