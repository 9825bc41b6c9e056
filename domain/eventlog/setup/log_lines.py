"""Migrates the table of log lines. A table of an earlier build, which has no partitions, becomes the first partition."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Literal

AHEAD = timedelta(days=2)
"""For how long new lines go into the former table, as other servers may write during the migration."""

IS_PLAIN = "SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass('log_lines')"
LIMITED = SQL(
    """ALTER TABLE log_lines ALTER COLUMN id DROP IDENTITY IF EXISTS;
    CREATE UNIQUE INDEX IF NOT EXISTS log_lines_id ON log_lines (id);
    ALTER TABLE log_lines DROP CONSTRAINT IF EXISTS log_lines_until;
    ALTER TABLE log_lines ADD CONSTRAINT log_lines_until CHECK (at < {until}) NOT VALID"""
)
VALIDATED = "ALTER TABLE log_lines VALIDATE CONSTRAINT log_lines_until"
RENAMED = """ALTER TABLE log_lines RENAME TO log_lines_before;
    ALTER INDEX log_lines_pkey RENAME TO log_lines_before_pkey;
    ALTER INDEX log_lines_id RENAME TO log_lines_before_id"""
ATTACHED = SQL(
    """ALTER TABLE log_lines ATTACH PARTITION log_lines_before
    FOR VALUES FROM (MINVALUE) TO ({until})"""
)

NUMBERED = """UPDATE log_head SET id = last.id FROM (SELECT max(id) AS id FROM log_lines) AS last
    WHERE last.id > log_head.id"""
"""Sets `log_head`, which the schema makes with 0, to the last id of an earlier table."""

MAKE_DAYS = "SELECT make_log_day(%s::date + ahead) FROM generate_series(0, 7) AS ahead"
"""Makes the missing partitions of a day and of the week after it."""


def migrate_log_lines(connection: Connection[Any], sql: bytes) -> None:
    """Apply the schema of the log lines, and commit. A table without partitions becomes the partition of all days up to
    tomorrow.

    Writers wait only for moments: the check that the table has no later lines runs while they write. An interrupted
    migration can be run again.
    """
    plain = connection.execute(IS_PLAIN).fetchone() == (True,)
    today = datetime.now(UTC).date()
    until = Literal(datetime.combine(today + AHEAD, time(), UTC))
    if plain:
        connection.execute(LIMITED.format(until=until))
        connection.commit()
        connection.execute(VALIDATED)
        connection.commit()
        connection.execute(RENAMED)
    connection.execute(sql)
    if plain:
        connection.execute(ATTACHED.format(until=until))
        connection.execute(NUMBERED)
    connection.execute(MAKE_DAYS, (today,))
    connection.commit()
