"""The tables of a log, which must be equal in both databases, and their replica identities: how a replicated change names its
row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier

from domain.eventlog.moving.locking import execute_with_retries

TABLES = """SELECT c.relname AS name, c.relkind = 'p' AS parted, parent.relname AS parent,
        pg_get_expr(c.relpartbound, c.oid) AS bound,
        ARRAY(SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attname) AS columns,
        c.relreplident = 'i' OR EXISTS (SELECT FROM pg_index
            WHERE indrelid = c.oid AND indisprimary) AS keyed,
        (SELECT min(x.relname) FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
            WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY(i.indkey)
                        AND NOT attnotnull)) AS unique_index,
        pg_relation_size(c.oid) AS size
    FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
        LEFT JOIN pg_class AS parent ON parent.oid = i.inhparent
    WHERE c.relnamespace = to_regnamespace(current_schema()) AND c.relkind IN ('r', 'p')
        AND c.relname <> 'log_move' ORDER BY c.relname"""
IDENTIFIED = SQL("ALTER TABLE {} REPLICA IDENTITY USING INDEX {}")
LIKE_DEFAULT = SQL("CREATE TABLE {} (LIKE {} INCLUDING INDEXES)")
DROP = SQL("DROP TABLE {}")
EMPTY = SQL("TRUNCATE {}")
IS_EMPTY = SQL("SELECT NOT EXISTS (SELECT FROM {})")
ONLY_APPENDED = frozenset({"access_log"})
"""Tables whose partitions have no key: only inserts are published of them."""
NEVER_EMPTIED = "events"
"""The table that is not truncated: a trigger refuses that, even where it is empty."""


class MovedTable(NamedTuple):
    """A table of a log.

    `parted`: whether it has partitions; `parent` and `bound`: of which table, and of which rows, it is a partition;
    `columns`: its columns with their types, sorted by name; `keyed`: whether it has a primary key or a replica identity;
    `unique_index`: an index that may serve as one; `size`: its bytes.
    """

    name: str
    parted: bool
    parent: str | None
    bound: str | None
    columns: Sequence[str]
    keyed: bool
    unique_index: str | None
    size: int

    @property
    def appended(self) -> bool:
        """Whether it is append-only and has no key, so that only inserts are published."""
        return self.parent in ONLY_APPENDED and not self.keyed

    @property
    def replicable(self) -> bool:
        """Whether each replicated change can name its row."""
        return self.parted or self.keyed or self.unique_index is not None or self.appended


def tables(connection: Connection[Any]) -> dict[str, MovedTable]:
    """The tables of the schema, by name, without the journal of the move."""
    with connection.cursor(row_factory=class_row(MovedTable)) as cursor:
        return {table.name: table for table in cursor.execute(TABLES)}


def stored_tables(found: Mapping[str, MovedTable]) -> dict[str, MovedTable]:
    """The tables that store rows: those without partitions."""
    return {name: table for name, table in found.items() if not table.parted}


def identify(connection: Connection[Any], found: Iterable[MovedTable]) -> None:
    """Let replicated changes of tables without a primary key name their row by the unique index."""
    execute_with_retries(
        connection,
        (
            IDENTIFIED.format(Identifier(table.name), Identifier(table.unique_index))
            for table in found
            if not table.parted and not table.keyed and table.unique_index is not None
        ),
    )


def differences(old: Mapping[str, MovedTable], new: Mapping[str, MovedTable]) -> list[str]:
    """The differences of the new database that prevent the replication: missing tables, and tables with other columns."""
    needed = {name for name, table in old.items() if table.parent is None}
    found = [f"it lacks the table {name}" for name in sorted(needed - new.keys())]
    other = (name for name in sorted(old.keys() & new.keys()) if _differ(old[name], new[name]))
    return found + [f"its table {name} has other columns" for name in other]


def empty(connection: Connection[Any], found: Mapping[str, MovedTable]) -> None:
    """Delete the rows of a new log, as all rows come from the old database."""
    names = [Identifier(name) for name in found if name != NEVER_EMPTIED]
    connection.execute(EMPTY.format(SQL(", ").join(names)))


def align_partitions(
    connection: Connection[Any], old: Mapping[str, MovedTable], new: Mapping[str, MovedTable]
) -> None:
    """Make the partitions of a new database, which are all empty, those of the old one."""
    for name in new.keys() - old.keys():
        connection.execute(DROP.format(Identifier(name)))
    for name in sorted(old.keys() - new.keys()):
        table = old[name]
        assert table.parent is not None
        connection.execute(
            LIKE_DEFAULT.format(Identifier(name), Identifier(f"{table.parent}_rest"))
        )
        names = Identifier(table.parent), Identifier(name), SQL(str(table.bound))
        connection.execute(SQL("ALTER TABLE {} ATTACH PARTITION {} {}").format(*names))


def is_empty(connection: Connection[Any], name: str) -> bool:
    """Whether a table has no rows."""
    return connection.execute(IS_EMPTY.format(Identifier(name))).fetchone() == (True,)


def drop(connection: Connection[Any], name: str) -> None:
    """Drop a table."""
    connection.execute(DROP.format(Identifier(name)))


def _differ(old: MovedTable, new: MovedTable) -> bool:
    return (old.columns, old.parent, old.bound) != (new.columns, new.parent, new.bound)
