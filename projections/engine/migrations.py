"""Makes the tables of the projections, and empties those whose rows changed their form."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection, Connection
from psycopg.sql import SQL, Identifier

from domain.errors import Overloaded
from domain.eventlog.sessions import session
from projections.engine.projection import Projection

log = structlog.get_logger()
BEGIN_BOOKMARK = "INSERT INTO bookmarks (view, position) VALUES (%s, 0) ON CONFLICT DO NOTHING"
BEGUN = "SELECT to_regclass('bookmarks') IS NOT NULL"
STATE = """SELECT form, coalesce(position > (SELECT position FROM head), false) FROM bookmarks
    WHERE view = %s"""
BEGIN_AGAIN = """INSERT INTO bookmarks AS b (view, position, form) VALUES (%s, 0, %s)
    ON CONFLICT (view) DO UPDATE SET position = 0, generation = b.generation + 1, form = excluded.form"""
FORGIVE = "DELETE FROM parked WHERE view = %s"
IS_THERE = "SELECT to_regclass(%s) IS NOT NULL"


def form_of(view: Projection) -> str:
    """What tells the rows of this program from those of another."""
    return sha256(view.schema.encode()).hexdigest()[:16]


def migrate_projections(
    database: str | Connection[Any],
    schema: str,
    views: Sequence[Projection],
    *,
    begin_again: bool = True,
) -> None:
    """Create what is missing of every view's tables; safe to run at every start, by many at once.

    A view begins again with no rows where those are of another form, as another program wrote them, and
    where its bookmark is lost or ahead of the log, so that what they show is unknown. Who only looks
    after the views does not let any `begin_again`: then the tables are made where there are none at all.
    """
    try:
        with session(database, schema) as connection:
            _migrate(connection, schema, views, begin_again=begin_again)
    except psycopg.OperationalError as error:
        raise Overloaded(f"The database is away or busy: {error}".strip()) from error


def _migrate(
    connection: Connection[Any], schema: str, views: Sequence[Projection], *, begin_again: bool
) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
    if not begin_again and connection.execute(BEGUN).fetchone() == (True,):
        return
    connection.execute(files("projections.engine").joinpath("schema.sql").read_bytes())
    for view in views:
        found = connection.execute(STATE, (view.name,)).fetchone()
        if found == (form_of(view), False):  # no statement that makes others wait
            continue
        _begin(connection, view, found)


def _begin(connection: Connection[Any], view: Projection, found: tuple[str, bool] | None) -> None:
    there = connection.execute(IS_THERE, (view.tables[0],)).fetchone() == (True,)
    if there:
        log.warning("view begins again", view=view.name, reason=_reason(view, found))
    for table in view.tables:
        connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(table)))
    connection.execute(FORGIVE, (view.name,))
    connection.execute(view.schema.encode())
    connection.execute(BEGIN_AGAIN, (view.name, form_of(view)))


def _reason(view: Projection, found: tuple[str, bool] | None) -> str:
    if found is None:
        return "its bookmark was lost"
    if found[0] != form_of(view):
        return "its rows were of another form"
    return "its bookmark was ahead of the log"


async def begin_again_without_bookmark(connection: AsyncConnection, view: Projection) -> None:
    """Make the tables of a view again whose bookmark is lost: how far its rows go is unknown."""
    async with connection.transaction():
        cursor = await connection.execute(STATE, (view.name,))
        if await cursor.fetchone() is not None:
            return
        log.warning("view begins again", view=view.name, reason=_reason(view, None))
        for table in view.tables:
            await connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(table)))
        await connection.execute(view.schema.encode())
        await connection.execute(FORGIVE, (view.name,))
        await connection.execute(BEGIN_AGAIN, (view.name, form_of(view)))
