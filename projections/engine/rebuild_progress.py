"""Reads the position of each view, and of each rebuild, whichever process runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from domain.eventlog.store import Store
from projections.engine.progress import progress_of
from projections.engine.rebuild import RUNNING, scratch_schema

# A rebuild holds this advisory lock while it runs; PostgreSQL releases the lock if the process dies.
UNDER_WAY = """SELECT name FROM unnest(%s::text[]) AS name WHERE EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = hashtext(%s)::bigint & 4294967295
        AND objid::bigint = hashtext(name)::bigint & 4294967295)"""
# First the bookmarks of the parts move, each through its share of the streams; then the view's own bookmark moves.
REACHED = SQL("""SELECT coalesce(greatest(
        max(position) FILTER (WHERE view = {view}),
        (avg(position) FILTER (WHERE view <> {view}))::bigint), 0)
    FROM {scratch}.bookmarks""")


class ProjectionProgress(NamedTuple):
    """The position of a view, the number of its parked events, and the position that a running rebuild has reached."""

    view: str
    position: int
    parked: int
    rebuilt: int | None = None


class RebuildProgress:
    """Reads the positions of the views and of their rebuilds from the database."""

    def __init__(self, store: Store, views: Sequence[str]) -> None:
        self._store = store
        self._views = list(views)

    async def now(self) -> list[ProjectionProgress]:
        """Return the progress of every view of the log.

        Raises:
            Overloaded: the database is unavailable.
        """
        views = await progress_of(self._store)
        schema = self._store.schema
        async with self._store.reader() as connection:
            values = (self._views, RUNNING.format(purpose="rebuild", schema=schema))
            rows = await (await connection.execute(UNDER_WAY, values)).fetchall()
            rebuilt = {row[0]: await _read_reached(connection, schema, row[0]) for row in rows}
        return [ProjectionProgress(*view, rebuilt.get(view.view)) for view in views]


async def _read_reached(connection: AsyncConnection, schema: str, view: str) -> int:
    query = REACHED.format(view=view, scratch=Identifier(scratch_schema(schema, view)))
    try:
        [(position,)] = await (await connection.execute(query)).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return 0  # the rebuild has just begun or just ended
    return int(position)
