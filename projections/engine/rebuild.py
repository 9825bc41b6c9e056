"""Makes a view's tables again beside the ones that serve, then puts them in their place.

The view runs unchanged: in a schema of its own, in front of the log's on the search path, its
tables, `bookmarks` and `parked` are the new ones while `events` and `head` are the log's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from projections.engine.follower import Follower
from projections.engine.migrations import BEGIN_BOOKMARK, form_of
from projections.engine.parallel_rebuild import OnProgress, Processes, Share, apply_all, unseen
from projections.engine.prefetch import collecting_rarely, reading_ahead
from projections.engine.projection import MovesInactiveRows, Projection

REBUILD = "rebuild"
PAGE = 10_000
SHARED = 20_000
"""Of fewer events one process is done before others have started."""
MOST_SWITCHES = 200
PAUSE = 1.5
SHORT_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '250ms'"
"""While a switch waits for a lock, every reader of the view waits behind it."""
ASYNC_COMMIT = "-c synchronous_commit=off"

RUNNING = "{purpose}s of {schema}"
"""The lock that says so, with the view's name."""
OWN = "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(%s))"
HEAD = "SELECT position FROM head"
MAKE_SURE = SQL(
    "INSERT INTO {main}.bookmarks (view, position) VALUES (%s, 0) ON CONFLICT DO NOTHING"
)
HOLD = SQL("SELECT position FROM {main}.bookmarks WHERE view = %s FOR UPDATE")
REPLACE = SQL(
    "DROP TABLE IF EXISTS {main}.{table}; ALTER TABLE {scratch}.{table} SET SCHEMA {main}"
)
ADVANCE = SQL("""UPDATE {main}.bookmarks AS old
    SET position = new.position, generation = old.generation + 1, form = %s
    FROM {scratch}.bookmarks AS new WHERE old.view = new.view AND new.view = %s""")
FORGIVE = SQL("DELETE FROM {main}.parked WHERE view = %s")
PARK = SQL("INSERT INTO {main}.parked SELECT * FROM {scratch}.parked WHERE view = %s")
INDEXES = """SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = %s AND indexdef NOT LIKE 'CREATE UNIQUE%%'"""
DROP = SQL("DROP SCHEMA IF EXISTS {scratch} CASCADE")
CREATE = SQL("CREATE SCHEMA {scratch}")


class RebuildUnderWay(Exception):
    """Another process is rebuilding this view."""


class Rebuilt(NamedTuple):
    """How far the new tables went when they took over, and how many events they could not apply."""

    position: int
    parked: int


async def rebuild(
    conninfo: str,
    schema: str,
    view: Projection,
    store: Store,
    on_progress: OnProgress = unseen,
    *,
    processes: Processes | None = None,
) -> Rebuilt:
    """Replace the tables of a view by what the whole log says, while everything else goes on.

    `view` is an instance that nothing else uses. What an interrupted rebuild left behind is
    dropped by the next one. Where the log is long, other `processes` apply what is in it now, and this one
    what is written meanwhile.

    Raises:
        RebuildUnderWay: another process is at it.
        PartFailed: one of the processes failed or was killed.
    """
    scratch = ScratchSchema(conninfo, schema, view.name)
    async with (
        open_scratch(scratch, [view]) as (connection, names),
        reading_ahead(store, view.types, PAGE) as pages,
    ):
        follower = Follower(view, pages, PAGE)
        async with _indexes_later(connection, scratch, view):
            head = await _number(connection, HEAD)
            if processes and processes.number > 1 and head >= SHARED:
                shares = shares_of(scratch, {view.name: head}, processes.number)
                await apply_all(connection, shares, processes, on_progress)
            with collecting_rarely():
                await _catch_up(connection, follower, on_progress)
        for table in view.tables:
            await connection.execute(SQL("ANALYZE {}").format(Identifier(table)))
        await _catch_up(
            connection, follower, on_progress
        )  # what was written while indexes were made
        rebuilt = await _switch_patiently(connection, follower, names, on_progress)
        on_progress(rebuilt.position, rebuilt.position)
        return rebuilt


def shares_of(scratch: ScratchSchema, until: Mapping[str, int], count: int) -> list[Share]:
    """The log in so many shares, for the new tables of some views, each up to a position."""
    share = Share(scratch.conninfo, scratch.options, scratch.schema, until, count * PAGE, count, 0)
    return [share._replace(number=number) for number in range(count)]


async def _catch_up(
    connection: AsyncConnection, follower: Follower, on_progress: OnProgress
) -> None:
    while (progress := await follower.catch_up(connection)) is not None:
        on_progress(progress.position, await _number(connection, HEAD))
        if not follower.behind:
            break


async def _switch_patiently(
    connection: AsyncConnection, follower: Follower, names: Names, on_progress: OnProgress
) -> Rebuilt:
    for _ in range(MOST_SWITCHES - 1):
        try:
            return await _switch(connection, follower, names)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            await asyncio.sleep(PAUSE)
            await _catch_up(connection, follower, on_progress)
    return await _switch(connection, follower, names)


async def _switch(connection: AsyncConnection, follower: Follower, names: Names) -> Rebuilt:
    """From the lock of the bookmark to the end, the follower of the view waits."""
    view = follower.view
    async with connection.transaction():
        await connection.execute(MAKE_SURE.format(**names), (view.name,))
        passed = await _number(connection, HOLD.format(**names), view.name)
        position = await _position(connection, names, view)
        while position < passed:
            if (progress := await follower.catch_up(connection)) is None:
                break  # the bookmark was ahead of the log
            position = progress.position
        await connection.execute(SHORT_LOCK_TIMEOUT)
        for table in view.tables:
            await connection.execute(REPLACE.format(table=Identifier(table), **names))
        await connection.execute(ADVANCE.format(**names), (form_of(view), view.name))
        await connection.execute(FORGIVE.format(**names), (view.name,))
        parked = await connection.execute(PARK.format(**names), (view.name,))
        await connection.execute(DROP.format(**names))
    return Rebuilt(position, parked.rowcount)


@asynccontextmanager
async def _indexes_later(
    connection: AsyncConnection, scratch: ScratchSchema, view: Projection
) -> AsyncIterator[None]:
    """Without its indexes a table grows twice as fast. A view finds rows by unique ones, which stay."""
    definitions = await drop_indexes(connection, scratch.own)
    yield
    if isinstance(view, MovesInactiveRows):
        await view.move_all_inactive(connection)
    async with await AsyncConnection.connect(
        scratch.conninfo, autocommit=True, options=scratch.options
    ) as other:
        # Not a TaskGroup: one error is one error, not a group of them.
        await asyncio.gather(
            _create(definitions[::2], connection), _create(definitions[1::2], other)
        )


async def drop_indexes(connection: AsyncConnection, schema: str) -> list[str]:
    """Drop those indexes of a schema that are not unique; answers their definitions."""
    indexes = await (await connection.execute(INDEXES, (schema,))).fetchall()
    for name, _ in indexes:
        await connection.execute(SQL("DROP INDEX {}").format(Identifier(name)))
    return [definition for _, definition in indexes]


async def _create(definitions: Sequence[str], connection: AsyncConnection) -> None:
    for definition in definitions:
        await connection.execute(definition.encode())


Names = dict[str, Identifier]


def scratch_schema(schema: str, name: str, purpose: str = REBUILD) -> str:
    """Where the new tables of a view are made."""
    return f"{schema}_{purpose}_{name}"


class ScratchSchema(NamedTuple):
    """Where new tables are made: of which log, and for which view, or what stands for several."""

    conninfo: str
    schema: str
    name: str
    purpose: str = REBUILD

    @property
    def own(self) -> str:
        """The schema of the new tables."""
        return scratch_schema(self.schema, self.name, self.purpose)

    @property
    def options(self) -> str:
        """Of a session that finds them before those that serve."""
        return f"{session_options(f'{self.own},{self.schema}')} {ASYNC_COMMIT}"


@asynccontextmanager
async def open_scratch(
    scratch: ScratchSchema, views: Sequence[Projection]
) -> AsyncIterator[tuple[AsyncConnection, Names]]:
    """A connection that finds new, empty tables of views.

    Raises:
        RebuildUnderWay: another process has some of this name for the same purpose.
    """
    names = {"main": Identifier(scratch.schema), "scratch": Identifier(scratch.own)}
    async with await AsyncConnection.connect(
        scratch.conninfo, autocommit=True, options=scratch.options
    ) as connection:
        running = RUNNING.format(purpose=scratch.purpose, schema=scratch.schema)
        if not await _number(connection, OWN, running, scratch.name):
            raise RebuildUnderWay(f"another process runs a {scratch.purpose} of {scratch.name}")
        await connection.execute(DROP.format(**names))
        await connection.execute(CREATE.format(**names))
        await connection.execute(files("projections.engine").joinpath("schema.sql").read_bytes())
        for view in views:
            await connection.execute(view.schema.encode())
            await connection.execute(BEGIN_BOOKMARK, (view.name,))
        yield connection, names


async def _position(connection: AsyncConnection, names: Names, view: Projection) -> int:
    query = SQL("SELECT position FROM {scratch}.bookmarks WHERE view = %s").format(**names)
    return await _number(connection, query, view.name)


async def _number(connection: AsyncConnection, query: Any, *values: str) -> int:
    row = await (await connection.execute(query, values)).fetchone()
    if row is None:
        raise LookupError("this view has no bookmark: its tables were never created")
    return int(row[0])
