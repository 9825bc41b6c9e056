"""Makes a view's tables again beside the ones that serve, then puts them in their place.

The view runs unchanged: in a schema of its own, in front of the log's on the search path, its
tables, `bookmarks` and `parked` are the new ones while `events` and `head` are the log's.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from domain.codec import Stored
from domain.kernel import Recorded
from domain.recorder import session_options
from domain.store import Store
from projections.kernel import BEGIN_BOOKMARK, Follower, View

PAGE = 10_000
MOST_SWITCHES = 5
UNHURRIED = "-c synchronous_commit=off"

OWN = "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(%s))"
HEAD = "SELECT position FROM head"
HOLD = SQL("SELECT position FROM {main}.bookmarks WHERE view = %s FOR UPDATE")
REPLACE = SQL("DROP TABLE {main}.{table}; ALTER TABLE {scratch}.{table} SET SCHEMA {main}")
ADVANCE = SQL("""UPDATE {main}.bookmarks AS old
    SET position = new.position, generation = old.generation + 1
    FROM {scratch}.bookmarks AS new WHERE old.view = new.view AND new.view = %s""")
FORGIVE = SQL("DELETE FROM {main}.parked WHERE view = %s")
PARK = SQL("INSERT INTO {main}.parked SELECT * FROM {scratch}.parked WHERE view = %s")
INDEXES = """SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = %s AND indexdef NOT LIKE 'CREATE UNIQUE%%'"""
DROP = SQL("DROP SCHEMA IF EXISTS {scratch} CASCADE")
CREATE = SQL("CREATE SCHEMA {scratch}")

Told = Callable[[int, int], None]
"""Is told the position reached and the position to reach."""


class RebuildUnderWay(Exception):
    """Another process is rebuilding this view."""


class Rebuilt(NamedTuple):
    """How far the new tables went when they took over, and how many events they could not apply."""

    position: int
    parked: int


async def rebuild(
    conninfo: str, schema: str, view: View, store: Store, told: Told = lambda _, __: None
) -> Rebuilt:
    """Replace the tables of a view by what the whole log says, while everything else goes on.

    `view` is an instance that nothing else uses. What an interrupted rebuild left behind is
    dropped by the next one.

    Raises:
        RebuildUnderWay: another process is at it.
    """
    async with (
        _scratch(conninfo, schema, view) as (connection, names),
        _reading_ahead(view, store) as follower,
    ):
        async with _indexes_later(connection, f"{schema}_rebuild_{view.name}"):
            with _collecting_rarely():
                await _catch_up(connection, follower, told)
        for table in view.tables:
            await connection.execute(SQL("ANALYZE {}").format(Identifier(table)))
        for attempt in range(MOST_SWITCHES):
            try:
                position = await _switch(connection, follower, names)
                break
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                if attempt + 1 == MOST_SWITCHES:
                    raise
                position = await _catch_up(connection, follower, told)
        told(position, position)
        return Rebuilt(position, follower.parked)


async def _catch_up(connection: AsyncConnection, follower: Follower, told: Told) -> int:
    position = 0
    while (progress := await follower.catch_up(connection)) is not None:
        position = progress.position
        told(position, await _number(connection, HEAD))
        if not follower.behind:
            break
    return position


async def _switch(connection: AsyncConnection, follower: Follower, names: Names) -> int:
    """From the lock of the bookmark to the end, whoever follows the view waits."""
    view = follower.view
    async with connection.transaction():
        passed = await _number(connection, HOLD.format(**names), view.name)
        position = await _position(connection, names, view)
        while position < passed:
            progress = await follower.catch_up(connection)
            assert progress is not None
            position = progress.position
        for table in view.tables:
            await connection.execute(REPLACE.format(table=Identifier(table), **names))
        for statement in (ADVANCE, FORGIVE, PARK):
            await connection.execute(statement.format(**names), (view.name,))
        await connection.execute(DROP.format(**names))
    return position


@asynccontextmanager
async def _indexes_later(connection: AsyncConnection, scratch: str) -> AsyncIterator[None]:
    """Without its indexes a table grows twice as fast. A view finds rows by unique ones, which stay."""
    indexes = await (await connection.execute(INDEXES, (scratch,))).fetchall()
    for name, _ in indexes:
        await connection.execute(SQL("DROP INDEX {}").format(Identifier(name)))
    yield
    for _, definition in indexes:
        await connection.execute(definition.encode())


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """A page is half a million objects without a cycle: looking for one takes a third of the time."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Ahead(Follower):
    """Has the next page read and decoded while one is written."""

    def __init__(self, view: View, store: Store) -> None:
        super().__init__(view, store, PAGE)
        self._next: tuple[int, int] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._read: tuple[Sequence[Stored], Sequence[Recorded]] = (), ()

    async def stop(self) -> None:
        """Read no further."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _rows(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> Sequence[Stored]:
        if self._reading is not None and self._next == (after, until):
            reading, self._reading = self._reading, None
            await reading
            rows = self._read[0]
        else:
            rows = await super()._rows(connection, after, until, head)
        if self._reading is None and until + self._page <= head:
            self._next = until, until + self._page
            self._reading = asyncio.create_task(self._read_ahead(*self._next), name="read ahead")
        return rows

    async def _decoded(self, rows: Sequence[Stored]) -> Sequence[Recorded]:
        known, events = self._read
        return events if rows is known else await super()._decoded(rows)

    async def _read_ahead(self, after: int, until: int) -> None:
        async with self._store.reader() as connection:
            rows = await super()._rows(connection, after, until, until)
        self._read = rows, await super()._decoded(rows)


@asynccontextmanager
async def _reading_ahead(view: View, store: Store) -> AsyncIterator[Follower]:
    follower = _Ahead(view, store)
    try:
        yield follower
    finally:
        await follower.stop()


Names = dict[str, Identifier]


@asynccontextmanager
async def _scratch(
    conninfo: str, schema: str, view: View
) -> AsyncIterator[tuple[AsyncConnection, Names]]:
    scratch = f"{schema}_rebuild_{view.name}"
    names = {"main": Identifier(schema), "scratch": Identifier(scratch)}
    options = f"{session_options(f'{scratch},{schema}')} {UNHURRIED}"
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, options=options
    ) as connection:
        if not await _number(connection, OWN, f"rebuilds of {schema}", view.name):
            raise RebuildUnderWay(f"another process is rebuilding the view {view.name}")
        await connection.execute(DROP.format(**names))
        await connection.execute(CREATE.format(**names))
        await connection.execute(files("projections").joinpath("schema.sql").read_bytes())
        await connection.execute(view.schema.encode())
        await connection.execute(BEGIN_BOOKMARK, (view.name,))
        yield connection, names


async def _position(connection: AsyncConnection, names: Names, view: View) -> int:
    query = SQL("SELECT position FROM {scratch}.bookmarks WHERE view = %s").format(**names)
    return await _number(connection, query, view.name)


async def _number(connection: AsyncConnection, query: Any, *values: str) -> int:
    row = await (await connection.execute(query, values)).fetchone()
    if row is None:
        raise LookupError("this view has no bookmark: its tables were never created")
    return int(row[0])
