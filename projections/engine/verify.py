"""Every column of every row of a projection, held against what its events say.

The projection is built again in a schema of its own, as by a rebuild, and both are read side by side, in
the order of their keys. Each portion is compared in one short transaction that sees one moment: it reads how
far the rows that serve claim to go, brings the new ones there, and compares. So what is written meanwhile
does no harm, no portion is more than some rows and digests of their columns, and the cost is that of a
rebuild and of one pass over the tables.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.sql import SQL, Composable, Identifier

from domain.eventlog.store import Store
from domain.integrity.fault import Fault
from projections.engine.follower import Follower
from projections.engine.migrations import form_of
from projections.engine.prefetch import collecting_rarely, reading_ahead
from projections.engine.projection import Projection
from projections.engine.rebuild import DROP, PAGE, Names, drop_indexes, scratch, scratch_schema

PURPOSE = "verify"
NO_IDLE_TIMEOUT = "SET idle_in_transaction_session_timeout = 0"
ROWS = 1_000
"""Of a portion, at most."""
PLACE = SQL("""SELECT b.position, b.generation, b.form, head.position FROM head
    LEFT JOIN {main}.bookmarks AS b ON b.view = {view}""")
REACHED = SQL("SELECT position FROM {own}.bookmarks WHERE view = {view}")
HOLD = SQL("LOCK TABLE {tables} IN ACCESS SHARE MODE")
PARKED = SQL("SELECT position, stream, error FROM {own}.parked ORDER BY position")
COLUMNS = """SELECT a.attname, t.typcategory, t.typname, a.attnum = ANY(i.indkey)
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    JOIN LATERAL (SELECT indkey FROM pg_index WHERE indrelid = a.attrelid AND indisunique
        ORDER BY indisprimary DESC LIMIT 1) AS i ON true
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
THERE = "SELECT to_regclass(%s) IS NOT NULL"
NEXT = SQL("SELECT {key}, {rest} FROM {table} WHERE {where} ORDER BY {key} LIMIT {limit}")

OnProgress = Callable[[int, int], None]
"""Is called with the position reached and the position to reach."""


class MadeAnew(Exception):
    """The view was rebuilt, or began again, while it was verified."""


@dataclass(slots=True)
class Verified:
    """How many rows were compared, up to which position, and where the log was then."""

    view: str
    position: int = 0
    head: int = 0
    rows: int = 0


class Table(NamedTuple):
    """A table to compare: its key, and of the other columns the names and what is read of them."""

    name: str
    key: Sequence[Composable]
    others: Sequence[str]
    read: Sequence[Composable]
    condition: str


Row = tuple[Any, ...]
Rows = Mapping[Row, Row]
"""The columns of rows by their keys."""


async def verify(
    conninfo: str,
    schema: str,
    view: Projection,
    store: Store,
    verified: Verified,
    *,
    on_progress: OnProgress = lambda _, __: None,
) -> AsyncIterator[Fault]:
    """Every difference between the rows of a projection and its events, as far as the rows claim to go.

    `view` is an instance that nothing else uses. The database needs room for its tables once more.

    Raises:
        MadeAnew: another process has made the rows again meanwhile.
        RebuildUnderWay: another process is verifying it.
    """
    async with (
        scratch(conninfo, schema, view, PURPOSE) as (connection, names),
        reading_ahead(view, store, PAGE) as follower,
    ):
        await connection.execute(NO_IDLE_TIMEOUT)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await drop_indexes(connection, scratch_schema(schema, view.name, PURPOSE))
        work = _Verifying(connection, names, follower, verified, on_progress)
        try:
            for fault in await work.begin():
                yield fault
            if work.comparable:
                for name in view.compared:
                    async for fault in work.compare(name):
                        yield fault
                for fault in await work.parked():
                    yield fault
        finally:
            with suppress(psycopg.Error):
                await connection.execute(DROP.format(**names))


class _Verifying:
    def __init__(
        self,
        connection: AsyncConnection,
        names: Names,
        follower: Follower,
        verified: Verified,
        on_progress: OnProgress,
    ) -> None:
        self.comparable = True
        self._connection = connection
        self._names = {"main": names["main"], "own": names["scratch"]}
        self._follower = follower
        self._view = follower.view
        self._verified = verified
        self._on_progress = on_progress
        self._generation: int | None = None

    async def begin(self) -> list[Fault]:
        """Bring the new rows near to those that serve; what is wrong with the bookmark."""
        found = await self._place()
        position, self._generation, form, head = found
        self._verified.head = head
        if position is None or form != form_of(self._view):
            self.comparable = False
            lost = "there is none: the rows are made again at the next start, or by a rebuild"
            old = "the rows are of another form: they are made again at the next start"
            return [self._fault("bookmark", lost if position is None else old)]
        missing = [name for name in self._view.tables if not await self._is_there(name)]
        self.comparable = not missing
        faults = [self._fault(name, "there is no such table") for name in missing]
        if position > head:
            faults.append(self._fault("bookmark", f"is at {position}, and the log ends at {head}"))
        if self.comparable:
            with collecting_rarely():
                await self._advance(min(position, head))
        return faults

    async def compare(self, name: str) -> AsyncIterator[Fault]:
        """The rows of one table, portion by portion."""
        table = await self._table(name)
        last: Row | None = None
        while True:
            async with self._connection.transaction():
                await self._catch_up()
                serving = await self._rows(table, "main", last)
                expected = await self._rows(table, "own", last)
            bound = _bound(serving, expected)
            faults = [
                self._fault(f"{name} {_shown(key)}", what)
                for key, what in _differences(table, serving, expected, bound)
            ]
            for fault in faults:
                yield fault
            if bound is None:
                return
            last = bound

    async def parked(self) -> list[Fault]:
        """The events that cannot be applied."""
        rows = await (await self._connection.execute(PARKED.format(**self._names))).fetchall()
        return [
            self._fault(f"event at {position} of {stream}", f"cannot be applied: {error}")
            for position, stream, error in rows
        ]

    async def _catch_up(self) -> None:
        """Within a transaction: see one moment, and bring the new rows to where the others are in it."""
        tables = [
            SQL("{}.{}").format(self._names["main"], Identifier(t)) for t in self._view.tables
        ]
        # Before anything is seen: a rebuild replaces tables.
        await self._connection.execute(HOLD.format(tables=SQL(", ").join(tables)))
        position, generation, _, head = await self._place()
        if generation != self._generation or position is None:
            raise MadeAnew(f"the view {self._view.name} was made anew meanwhile: verify it again")
        self._verified.head = head
        await self._advance(min(position, head))

    async def _advance(self, until: int) -> None:
        query = REACHED.format(view=self._view.name, **self._names)
        [(position,)] = await (await self._connection.execute(query)).fetchall()
        while position < until:
            page = min(PAGE, until - position)
            progress = await self._follower.catch_up(self._connection, page)
            if progress is None:
                break
            position = progress.position
            self._on_progress(position, until)
        self._verified.position = position

    async def _place(self) -> Sequence[Any]:
        query = PLACE.format(view=self._view.name, main=self._names["main"])
        [row] = await (await self._connection.execute(query)).fetchall()
        return row

    async def _is_there(self, name: str) -> bool:
        table = SQL("{}.{}").format(self._names["main"], Identifier(name))
        cursor = await self._connection.execute(THERE, (table.as_string(self._connection),))
        [(there,)] = await cursor.fetchall()
        return bool(there)

    async def _table(self, name: str) -> Table:
        relation = SQL("{}.{}").format(self._names["own"], Identifier(name))
        values = (relation.as_string(self._connection),)
        columns = await (await self._connection.execute(COLUMNS, values)).fetchall()
        others = [column for column in columns if not column[3]]
        return Table(
            name,
            [_key(*column[:2]) for column in columns if column[3]],
            [column[0] for column in others],
            [_read(*column[:3]) for column in others],
            self._view.compared[name],
        )

    async def _rows(self, table: Table, side: str, last: Row | None) -> Rows:
        key = SQL(", ").join(table.key)
        where: Composable = SQL(table.condition)
        if last is not None:
            places = SQL(", ").join(SQL("%s") * len(last))
            where = SQL("{} AND ({}) > ({})").format(where, key, places)
        query = NEXT.format(
            key=key,
            rest=SQL(", ").join(table.read or [SQL("NULL")]),
            table=SQL("{}.{}").format(self._names[side], Identifier(table.name)),
            where=where,
            limit=ROWS,
        )
        cursor = await self._connection.execute(query, last or (), prepare=False)
        if side == "main":
            self._verified.rows += cursor.rowcount
        size = len(table.key)
        return {row[:size]: row[size:] for row in await cursor.fetchall()}

    def _fault(self, place: str, what: str) -> Fault:
        return Fault(self._view.name, place, what)


def _key(name: str, category: str) -> Composable:
    """A column of the key: texts are in the order in which they are here, too."""
    return SQL('{} COLLATE "C"' if category == "S" else "{}").format(Identifier(name))


def _read(name: str, category: str, type_: str) -> Composable:
    """A column, or a digest of it where it may be large: equal texts are equal values there."""
    if type_ == "bytea":
        return SQL("md5({})").format(Identifier(name))
    if category in "ASU":  # arrays, texts, and user-defined, to which JSON belongs
        return SQL("md5({}::text)").format(Identifier(name))
    return Identifier(name)


def _bound(serving: Rows, expected: Rows) -> Row | None:
    """The last key up to which both portions have all rows; None where both have all there are."""
    full = [max(rows) for rows in (serving, expected) if len(rows) == ROWS]
    return min(full) if full else None


def _differences(
    table: Table, serving: Rows, expected: Rows, bound: Row | None
) -> Sequence[tuple[Row, str]]:
    found = []
    for key in sorted(serving.keys() | expected.keys()):
        if bound is not None and key > bound:
            break
        row, other = serving.get(key), expected.get(key)
        if row is None:
            found.append((key, "there is no row"))
        elif other is None:
            found.append((key, "there is a row, but no events lead to it"))
        elif row != other:
            pairs = zip(table.others, row, other, strict=True)
            found.append((key, f"differs in {', '.join(n for n, a, b in pairs if a != b)}"))
    return found


def _shown(key: Row) -> str:
    return "/".join(str(part) for part in key)
