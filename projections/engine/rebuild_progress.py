"""How far each view is, and each rebuild of one, whichever process is at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from domain.eventlog.store import Store
from projections.engine.progress import progress_of
from projections.engine.rebuild import RUNNING, scratch_schema

# A rebuild holds this lock from its first to its last moment, and loses it if its process dies.
UNDER_WAY = """SELECT name FROM unnest(%s::text[]) AS name WHERE EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = hashtext(%s)::bigint & 4294967295
        AND objid::bigint = hashtext(name)::bigint & 4294967295)"""
# First the parts move, each through its share of the streams; then the view's own bookmark does.
REACHED = SQL("""SELECT coalesce(greatest(
        max(position) FILTER (WHERE view = {view}),
        (avg(position) FILTER (WHERE view <> {view}))::bigint), 0)
    FROM {scratch}.bookmarks""")


class ProjectionProgress(NamedTuple):
    """A view's position, how many events it could not apply, and the position that a rebuild of it
    has reached, if one is under way.
    """

    view: str
    position: int
    parked: int
    rebuilt: int | None = None


class RebuildProgress:
    """Asks the database how far the views are."""

    def __init__(self, store: Store, views: Sequence[str]) -> None:
        self._store = store
        self._views = list(views)

    async def now(self) -> list[ProjectionProgress]:
        """Every view of the log.

        Raises:
            Overloaded: the database is away.
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
        return 0  # it has only begun, or is just over
    return int(position)
