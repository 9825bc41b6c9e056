"""Compares a table that serves with the same table built anew, portion by portion, in the order of the keys.

PostgreSQL compares the rows and returns only those whose bytes differ. Their columns are compared here, because equal
values may have different bytes: `1.5` and `1.50`, for example.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.sql import SQL, Composable, Identifier

from projections.representations.packing import LARGEST, same

ROWS = 5_000
"""Rows that a portion has at most in either table."""
COLUMNS = """SELECT a.attname, t.typcategory, t.typname, a.attnum = ANY(i.indkey)
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_partitioned_table AS parted ON parted.partrelid = a.attrelid
    JOIN LATERAL (SELECT indkey FROM pg_index WHERE indisunique AND (indrelid = a.attrelid
            OR indrelid IN (SELECT relid FROM pg_partition_tree(a.attrelid)))
        ORDER BY indisprimary DESC LIMIT 1) AS i ON true
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attnum = ANY(parted.partattrs)) IS NOT TRUE ORDER BY a.attnum"""
"""The columns of a table: name, category, type, and whether it belongs to the key. The columns of the partition key are
left out, because the partition in which a row is stored does not follow from the events."""
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
    """The key of a row, and how the row differs in the two tables."""

    key: Row
    what: str


class Portion(NamedTuple):
    """The number of rows compared in the table that serves, their differences, and the last key compared; None at
    the end of the table.
    """

    rows: int
    differences: list[Difference]
    last: Row | None


class ComparedTable(NamedTuple):
    """A table in two schemas: `main`, which serves, and `own`, which was built anew. `condition` selects the rows
    that are compared.
    """

    main: Composable
    own: Composable
    key: Sequence[str]
    texts: Sequence[bool]
    """Which columns of the key are texts. Those are ordered by bytes, which is also the order of texts in Python."""
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
        """Return the table of a name, with the columns that it has in the schema `own`."""
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
            [
                _column_sql(side, *column[:3])
                for side in ("serving", "expected")
                for column in others
            ],
            condition,
        )

    async def compare(self, connection: AsyncConnection, after: Row | None) -> Portion:
        """Compare the portion after the key `after`, in the caller's transaction. None begins at the first row."""
        last = await self._find_last_key(connection, after)
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

    async def _find_last_key(self, connection: AsyncConnection, after: Row | None) -> Row | None:
        """Return the key up to which neither table has more than `ROWS` rows; None if both have fewer rows left."""
        where, values = self._between(after, None)
        found: list[Row] = []
        for table in (self.main, self.own):
            query = LAST.format(key=self._key, table=table, where=where, before=ROWS - 1)
            found += await (await connection.execute(query, values, prepare=False)).fetchall()
        return min(found, default=None)

    def _between(self, after: Row | None, last: Row | None) -> tuple[Composable, Row]:
        """Return the SQL condition for the compared rows after the key `after`, up to the key `last`, and its values."""
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
            key, (missing, unexpected), read = row[:size], row[size : size + 2], row[size + 2 :]
            if missing:
                yield Difference(key, "there is no row")
            elif unexpected:
                yield Difference(key, "there is a row, but no events lead to it")
            else:
                pairs = zip(self.others, read[:columns], read[columns:], strict=False)
                if differing := [name for name, one, other in pairs if not same(one, other)]:
                    yield Difference(key, f"differs in {', '.join(differing)}")


def _column_sql(side: str, name: str, category: str, type_: str) -> Composable:
    """Return SQL for a column, or for a digest of its text if its values may be large: there, values are equal only
    if their texts are.
    """
    column = SQL("{}.{}").format(Identifier(side), Identifier(name))
    if type_ == "bytea":
        return PACKED.format(column=column, largest=LARGEST)
    if category in "ASU":  # arrays, texts, and user-defined, to which JSON belongs
        return SQL("md5({}::text)").format(column)
    return column
