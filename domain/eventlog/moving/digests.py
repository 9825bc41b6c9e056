"""Compares the tables of both databases: counts of rows, and sums of the hashes of rows over all columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.sql import SQL, Composable, Identifier, Literal

from domain.eventlog.moving.tables import MovedTable

NUMBERED = {"events": "notification_id", "log_lines": "id", "access_log": "id"}
"""Append-only tables and their partitions, with the column that numbers the rows in ascending order."""
AT_ONCE = 50_000
"""Rows of an append-only table that one query compares."""
LARGEST = 32 * 1024 * 1024
"""Bytes of a table up to which it is compared while commands wait. Append-only tables are compared before."""
DIGEST = SQL(
    """SELECT {name} AS name, count(*),
        coalesce(sum(hashtextextended(CAST(ROW({columns}) AS text), 0)::numeric), 0) FROM {table}{where}"""
)
ALL = SQL("")
BOUNDS = SQL("SELECT min({number}) - 1, max({number}) FROM {table}")
HEAD = "SELECT position, log_id, log_name FROM head"
SEQUENCES = """SELECT sequencename, last_value FROM pg_sequences
    WHERE schemaname = current_schema() AND last_value IS NOT NULL"""
SET_SEQUENCE = "SELECT setval(format('%%I.%%I', current_schema(), %s::text), %s)"

OnProgress = Callable[[int, int], object]


class Different(Exception):
    """The databases differ; the message names the table."""


class Compared(NamedTuple):
    """The position of the last event, the number of compared rows, and the tables that were too large to compare."""

    position: int
    rows: int
    skipped: tuple[str, ...]


class Comparison:
    """Compares both databases, with a thread for the query to each."""

    def __init__(self, old: Connection[Any], new: Connection[Any]) -> None:
        self._databases = old, new
        self._done: dict[str, int] = {}
        """For each append-only table, the number up to which its rows are compared."""

    def compare_past(self, tables: Mapping[str, MovedTable], reached: OnProgress) -> int:
        """Compare the append-only tables as far as the new database has them; return the number of rows.

        Raises:
            Different: the rows of a table differ.
        """
        wanted = {name: number for name in tables if (number := _number(tables[name])) is not None}
        bounds = {name: self._bounds(name, number) for name, number in wanted.items()}
        total, rows = sum(last - first for first, last in bounds.values()), 0
        for name, number in wanted.items():
            for after, until in _spans(*bounds[name]):
                rows += self._compare({name: tables[name]}, {name: _between(number, after, until)})
                reached(rows, total)
            self._done[name] = bounds[name][1]
        return rows

    def compare_remaining(self, tables: Mapping[str, MovedTable]) -> Compared:
        """Compare the heads, the other tables, and the new rows of append-only tables, while nothing is written.

        Raises:
            Different: the heads, or the rows of a table, differ.
        """
        heads = [each.execute(HEAD).fetchone() for each in self._databases]
        if heads[0] != heads[1] or heads[0] is None:
            raise Different(
                f"the head of the log is {heads[0]} in the old database, {heads[1]} in the new one"
            )
        tails = {
            name: self._tail(name, number) for name in tables if (number := _number(tables[name]))
        }
        skipped = {name for name in tables.keys() - tails.keys() if tables[name].size > LARGEST}
        compared = {name: table for name, table in tables.items() if name not in skipped}
        return Compared(heads[0][0], self._compare(compared, tails), tuple(sorted(skipped)))

    def _tail(self, name: str, number: str) -> Composable:
        return _between(number, self._done.get(name, 0))

    def copy_sequences(self) -> None:
        """Set the sequences of the new database to the values of the old one, as sequences are not replicated."""
        old, new = self._databases
        for name, value in old.execute(SEQUENCES).fetchall():
            new.execute(SET_SEQUENCE, (name, value))

    def _bounds(self, table: str, number: str) -> tuple[int, int]:
        """One less than the first number in either database, and the last number in the new database."""
        query = BOUNDS.format(number=Identifier(number), table=Identifier(table))
        [[(first, _)], [(also_first, last)]] = self._both(query)
        begins = [each for each in (first, also_first) if each is not None]
        return (min(begins), last) if last is not None else (0, 0)

    def _compare(self, tables: Mapping[str, MovedTable], wheres: Mapping[str, Composable]) -> int:
        """Compare rows of tables, by one query to each database; return the number of rows."""
        digests = [_digest(table, wheres.get(name, ALL)) for name, table in tables.items()]
        old, new = self._both(SQL(" UNION ALL ").join(digests))
        for (name, new_count, _), (_, old_count, _) in (
            pair for pair in zip(sorted(new), sorted(old), strict=True) if pair[0] != pair[1]
        ):
            raise Different(
                f"of the table {name} {old_count} rows that were compared are in the old database, {new_count} in the new one"
                if new_count != old_count
                else f"rows of the table {name} differ"
            )
        return sum(count for _, count, _ in old)

    def _both(self, query: Composable) -> list[list[tuple[Any, ...]]]:
        with ThreadPoolExecutor(2) as threads:
            asked = threads.map(lambda each: each.execute(query).fetchall(), self._databases)
            return list(asked)


def _digest(table: MovedTable, where: Composable) -> Composable:
    names = [Identifier(column.partition(" ")[0]) for column in table.columns]
    return DIGEST.format(
        name=Literal(table.name),
        columns=SQL(", ").join(names),
        table=Identifier(table.name),
        where=where,
    )


def _number(table: MovedTable) -> str | None:
    return NUMBERED.get(table.parent or table.name)


def _between(number: str, after: int, until: int | None = None) -> Composable:
    more = SQL(" WHERE {} > {}").format(Identifier(number), Literal(after))
    if until is None:
        return more
    return more + SQL(" AND {} <= {}").format(Identifier(number), Literal(until))


def _spans(after: int, until: int) -> Iterator[tuple[int, int]]:
    for begin in range(after, until, AT_ONCE):
        yield begin, min(begin + AT_ONCE, until)
