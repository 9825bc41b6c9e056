"""A table beside its second building, portion by portion, in the order of the keys.

PostgreSQL compares them: rows of the same bytes are equal, and only the others come here. Of those each
column is looked at, as equal values may have other bytes: an amount with more zeros behind its point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.sql import SQL, Composable, Identifier

from projections.representations.packing import LARGEST, same

ROWS = 5_000
"""Of a portion, at most."""
COLUMNS = """SELECT a.attname, t.typcategory, t.typname, a.attnum = ANY(i.indkey)
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_partitioned_table AS parted ON parted.partrelid = a.attrelid
    JOIN LATERAL (SELECT indkey FROM pg_index WHERE indisunique AND (indrelid = a.attrelid
            OR indrelid IN (SELECT relid FROM pg_partition_tree(a.attrelid)))
        ORDER BY indisprimary DESC LIMIT 1) AS i ON true
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attnum = ANY(parted.partattrs)) IS NOT TRUE ORDER BY a.attnum"""
"""In which part of a table a row is kept does not follow from the events."""
LAST = SQL("SELECT {key} FROM {table} WHERE {where} ORDER BY {key} OFFSET {before} LIMIT 1")
COUNT = SQL("SELECT count(*) FROM {table} WHERE {where}")
DIFFERENT = SQL("""SELECT {names}, serving IS NULL, expected IS NULL, {read}
    FROM (SELECT {columns} FROM {main} WHERE {where}) AS serving
    FULL JOIN (SELECT {columns} FROM {own} WHERE {where}) AS expected USING ({names})
    WHERE serving IS NULL OR expected IS NULL OR serving *<> expected ORDER BY {key}""")
PACKED = SQL(
    "CASE WHEN octet_length({column}) > {largest} THEN decode(md5({column}), 'hex') ELSE {column} END"
)

Row = tuple[Any, ...]


class Difference(NamedTuple):
    """A key, and how the rows differ that have it."""

    key: Row
    what: str


class Portion(NamedTuple):
    """How many rows there are of the table that serves, where they differ, and the key up to which that goes;
    None where it goes to the end.
    """

    rows: int
    differences: list[Difference]
    last: Row | None


class ComparedTable(NamedTuple):
    """A table in two schemas, those that serve and its own, and which of its rows are compared."""

    main: Composable
    own: Composable
    key: Sequence[str]
    texts: Sequence[bool]
    """Which columns of the key are texts: those are in the order in which they are here, too."""
    others: Sequence[str]
    read: Sequence[Composable]
    condition: str

    @classmethod
    async def find(
        cls,
        connection: AsyncConnection,
        name: str,
        main: Identifier,
        own: Identifier,
        condition: str,
    ) -> ComparedTable:
        """The table with its columns, which are those of the second building."""
        serving, expected = (
            SQL("{}.{}").format(schema, Identifier(name)) for schema in (main, own)
        )
        values = (expected.as_string(connection),)
        columns = await (await connection.execute(COLUMNS, values)).fetchall()
        key = [column for column in columns if column[3]]
        others = [column for column in columns if not column[3]]
        return cls(
            serving,
            expected,
            [column[0] for column in key],
            [column[1] == "S" for column in key],
            [column[0] for column in others],
            [_read(side, *column[:3]) for side in ("serving", "expected") for column in others],
            condition,
        )

    async def compare(self, connection: AsyncConnection, after: Row | None) -> Portion:
        """The portion that follows on a key, within the caller's transaction."""
        last = await self._last(connection, after)
        where, values = self._between(after, last)
        query = COUNT.format(table=self.main, where=where)
        [(rows,)] = await (await connection.execute(query, values, prepare=False)).fetchall()
        names = SQL(", ").join(map(Identifier, self.key))
        query = DIFFERENT.format(
            names=names,
            key=self._key,
            columns=SQL(", ").join(map(Identifier, (*self.key, *self.others))),
            read=SQL(", ").join(self.read or [SQL("NULL")]),
            main=self.main,
            own=self.own,
            where=where,
        )
        found = await connection.execute(query, values * 2, prepare=False)
        return Portion(rows, list(self._differences(await found.fetchall())), last)

    @property
    def _key(self) -> Composable:
        columns = zip(self.key, self.texts, strict=True)
        return SQL(", ").join(
            SQL('{} COLLATE "C"' if text else "{}").format(Identifier(name))
            for name, text in columns
        )

    async def _last(self, connection: AsyncConnection, after: Row | None) -> Row | None:
        """The key up to which neither has more than a portion; None where neither has as much."""
        where, values = self._between(after, None)
        found: list[Row] = []
        for table in (self.main, self.own):
            query = LAST.format(key=self._key, table=table, where=where, before=ROWS - 1)
            found += await (await connection.execute(query, values, prepare=False)).fetchall()
        return min(found, default=None)

    def _between(self, after: Row | None, last: Row | None) -> tuple[Composable, Row]:
        """The rows that are compared, from behind a key up to another one: a condition and its values."""
        conditions: list[Composable] = [SQL(self.condition)]
        values: Row = ()
        for operator, bound in ((">", after), ("<=", last)):
            if bound is not None:
                marks = SQL(", ").join(SQL("%s") * len(bound))
                conditions.append(SQL(f"({{}}) {operator} ({{}})").format(self._key, marks))
                values += bound
        return SQL(" AND ").join(conditions), values

    def _differences(self, rows: Sequence[Row]) -> Iterator[Difference]:
        size, columns = len(self.key), len(self.others)
        for row in rows:
            key, (lost, unfounded), read = row[:size], row[size : size + 2], row[size + 2 :]
            if lost:
                yield Difference(key, "there is no row")
            elif unfounded:
                yield Difference(key, "there is a row, but no events lead to it")
            else:
                pairs = zip(self.others, read[:columns], read[columns:], strict=False)
                if differing := [name for name, one, other in pairs if not same(one, other)]:
                    yield Difference(key, f"differs in {', '.join(differing)}")


def _read(side: str, name: str, category: str, type_: str) -> Composable:
    """A column, or a digest of it where it is large, or may be: equal texts are equal values there."""
    column = SQL("{}.{}").format(Identifier(side), Identifier(name))
    if type_ == "bytea":
        return PACKED.format(column=column, largest=LARGEST)
    if category in "ASU":  # arrays, texts, and user-defined, to which JSON belongs
        return SQL("md5({}::text)").format(column)
    return column
