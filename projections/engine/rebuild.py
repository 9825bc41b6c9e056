"""Rebuilds a view: fills new tables beside those that serve, then replaces those.

The code of the view runs unchanged. The new tables are in a schema of their own, which stands before the schema of the
log on the search path: so the view finds the new `bookmarks` and `parked` there, and `events` and `head` in the log's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
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
"""Positions that a page of a rebuild covers."""
SHARED = 20_000
"""Events from which on several processes share a rebuild: a smaller log is done before the processes have started."""
MOST_SWITCHES = 200
"""Attempts to replace the tables. The last attempt raises its error."""
PAUSE = 1.5
"""Seconds between two attempts to replace the tables."""
SHORT_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '250ms'"
"""Short, because every reader of the view queues behind a switch that waits for a lock."""
ASYNC_COMMIT = "-c synchronous_commit=off"

RUNNING = "{purpose}s of {schema}"
"""The first key of the advisory lock that a rebuild holds; the second key is the name of the view."""
OWN = "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(%s))"
HEAD = "SELECT position FROM head"
INSERT_BOOKMARK = SQL(
    "INSERT INTO {main}.bookmarks (view, position) VALUES (%s, 0) ON CONFLICT DO NOTHING"
)
HOLD = SQL("SELECT position FROM {main}.bookmarks WHERE view = %s FOR UPDATE")
REPLACE = SQL(
    "DROP TABLE IF EXISTS {main}.{table}; ALTER TABLE {scratch}.{table} SET SCHEMA {main}"
)
ADVANCE = SQL("""UPDATE {main}.bookmarks AS old
    SET position = new.position, generation = old.generation + 1, form = %s
    FROM {scratch}.bookmarks AS new WHERE old.view = new.view AND new.view = %s""")
UNPARK = SQL("DELETE FROM {main}.parked WHERE view = %s")
PARK = SQL("INSERT INTO {main}.parked SELECT * FROM {scratch}.parked WHERE view = %s")
ANALYZED = """SELECT relname FROM pg_class
    WHERE relnamespace = %s::regnamespace AND relname = ANY(%s) AND NOT relispartition"""
"""The tables whose statistics are to be made. PostgreSQL makes those of the partitions of a table with its own."""
INDEXES = """SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = %s AND indexdef NOT LIKE 'CREATE UNIQUE%%'"""
DROP = SQL("DROP SCHEMA IF EXISTS {scratch} CASCADE")
CREATE = SQL("CREATE SCHEMA {scratch}")


class RebuildUnderWay(Exception):
    """Another process is rebuilding or verifying this view."""


class Rebuilt(NamedTuple):
    """The position of the new tables when they replaced the old ones, and the number of events parked on the way."""

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
    """Replace the tables of a view by new ones filled from the whole log, while readers and writers continue.

    `view` must be an instance that nothing else uses. The next rebuild drops what an interrupted one has left. If the
    log is long, other `processes` apply the events that are in it now, and this process those that are written
    meanwhile.

    Raises:
        RebuildUnderWay: another process is rebuilding the view.
        PartFailed: one of the processes failed or was killed.
    """
    scratch = ScratchSchema(conninfo, schema, view.name)
    async with (
        open_scratch(scratch, [view]) as (connection, names),
        reading_ahead(store, view.types, PAGE) as pages,
    ):
        follower = Follower(view, pages, PAGE)
        async with _indexes_created_last(connection, scratch, view):
            head = await _number(connection, HEAD)
            if processes and processes.number > 1 and head >= SHARED:
                shares = shares_of(scratch, {view.name: head}, processes.number)
                await apply_all(connection, shares, processes, on_progress)
            with collecting_rarely():
                await _catch_up(connection, follower, on_progress)
        # Apply what was written while the indexes were created.
        await _catch_up(connection, follower, on_progress)
        rebuilt = await _switch_patiently(connection, follower, names, on_progress)
        on_progress(rebuilt.position, rebuilt.position)
        return rebuilt


def shares_of(scratch: ScratchSchema, until: Mapping[str, int], count: int) -> list[Share]:
    """Divide the log into `count` shares for the new tables of several views, each view up to its position."""
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
    """Replace the tables in one transaction. The live follower of the view waits meanwhile for the bookmark's lock."""
    view = follower.view
    async with connection.transaction():
        await connection.execute(INSERT_BOOKMARK.format(**names), (view.name,))
        served = await _number(connection, HOLD.format(**names), view.name)
        position = await _position(connection, names, view)
        while position < served:
            if (progress := await follower.catch_up(connection)) is None:
                break  # the bookmark of the old tables was ahead of the log
            position = progress.position
        await connection.execute(SHORT_LOCK_TIMEOUT)
        for table in view.tables:
            await connection.execute(REPLACE.format(table=Identifier(table), **names))
        await connection.execute(ADVANCE.format(**names), (form_of(view), view.name))
        await connection.execute(UNPARK.format(**names), (view.name,))
        parked = await connection.execute(PARK.format(**names), (view.name,))
        await connection.execute(DROP.format(**names))
    return Rebuilt(position, parked.rowcount)


@asynccontextmanager
async def _indexes_created_last(
    connection: AsyncConnection, scratch: ScratchSchema, view: Projection
) -> AsyncIterator[None]:
    """Drop the indexes of the new tables, and create them again when the block ends, then the statistics of the tables:
    tables without indexes are filled twice as fast. Unique indexes stay, because a view finds its rows by them.
    """
    definitions = await drop_indexes(connection, scratch.own)
    yield
    if isinstance(view, MovesInactiveRows):
        await view.move_all_inactive(connection)
    async with await AsyncConnection.connect(
        scratch.conninfo, autocommit=True, options=scratch.options
    ) as other:
        await _execute_all(definitions, connection, other)
        await _execute_all(await _analyses(connection, scratch, view), connection, other)


async def _analyses(
    connection: AsyncConnection, scratch: ScratchSchema, view: Projection
) -> list[str]:
    """Return the statements that make the statistics of the new tables."""
    tables = await connection.execute(ANALYZED, (scratch.own, list(view.tables)))
    return [
        SQL("ANALYZE {}").format(Identifier(table)).as_string(connection)
        for (table,) in await tables.fetchall()
    ]


async def drop_indexes(connection: AsyncConnection, schema: str) -> list[str]:
    """Drop the indexes of a schema that are not unique, and return their definitions."""
    indexes = await (await connection.execute(INDEXES, (schema,))).fetchall()
    for name, _ in indexes:
        await connection.execute(SQL("DROP INDEX {}").format(Identifier(name)))
    return [definition for _, definition in indexes]


async def _execute_all(statements: Sequence[str], *connections: AsyncConnection) -> None:
    """Execute statements over several connections, each of which takes the next one when it is free."""
    remaining = iter(statements)
    # Not a TaskGroup, which would raise an ExceptionGroup instead of the error itself.
    await asyncio.gather(*(_execute(remaining, connection) for connection in connections))


async def _execute(statements: Iterator[str], connection: AsyncConnection) -> None:
    for statement in statements:
        await connection.execute(statement.encode())


Names = dict[str, Identifier]


def scratch_schema(schema: str, name: str, purpose: str = REBUILD) -> str:
    """Return the name of the schema in which the new tables of a view are created."""
    return f"{schema}_{purpose}_{name}"


class ScratchSchema(NamedTuple):
    """The schema for new tables: its log, the name of the view or of a group of views, and its purpose."""

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
        """Options of a session that finds the new tables before those that serve."""
        return f"{session_options(f'{self.own},{self.schema}')} {ASYNC_COMMIT}"


@asynccontextmanager
async def open_scratch(
    scratch: ScratchSchema, views: Sequence[Projection]
) -> AsyncIterator[tuple[AsyncConnection, Names]]:
    """Create new, empty tables of views, and yield a connection that finds them, with the names of both schemas.

    Raises:
        RebuildUnderWay: another process uses new tables of the same name and purpose.
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
