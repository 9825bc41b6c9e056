"""Creates the tables of the projections, and empties the tables whose rows have another form than this program's."""

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
BOOKMARKS_EXIST = "SELECT to_regclass('bookmarks') IS NOT NULL"
STATE = """SELECT form, coalesce(position > (SELECT position FROM head), false) FROM bookmarks
    WHERE view = %s"""
BEGIN_AGAIN = """INSERT INTO bookmarks AS b (view, position, form) VALUES (%s, 0, %s)
    ON CONFLICT (view) DO UPDATE SET position = 0, generation = b.generation + 1, form = excluded.form"""
UNPARK = "DELETE FROM parked WHERE view = %s"
TABLE_EXISTS = "SELECT to_regclass(%s) IS NOT NULL"


def form_of(view: Projection) -> str:
    """Return a digest that changes whenever the form of the view's rows changes."""
    return sha256(view.schema.encode()).hexdigest()[:16]


def migrate_projections(
    database: str | Connection[Any],
    schema: str,
    views: Sequence[Projection],
    *,
    begin_again: bool = True,
) -> None:
    """Create the missing tables of the views. Safe to run at every start, by several processes at once.

    A view begins again with no rows if its rows have another form, written by another version of the program, or if
    its bookmark is lost or ahead of the log, so that the state of its rows is unknown. With `begin_again=False`, for
    programs that only read the views, tables are created only in a schema that has none yet.

    Raises:
        Overloaded: the database is unavailable or busy.
    """
    try:
        with session(database, schema) as connection:
            _migrate(connection, schema, views, begin_again=begin_again)
    except psycopg.OperationalError as error:
        raise Overloaded(f"The database is unavailable or busy: {error}".strip()) from error


def _migrate(
    connection: Connection[Any], schema: str, views: Sequence[Projection], *, begin_again: bool
) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
    if not begin_again and connection.execute(BOOKMARKS_EXIST).fetchone() == (True,):
        return
    connection.execute(files("projections.engine").joinpath("schema.sql").read_bytes())
    for view in views:
        found = connection.execute(STATE, (view.name,)).fetchone()
        if found == (form_of(view), False):  # nothing to do, so no statement that takes a lock
            continue
        _begin(connection, view, found)


def _begin(connection: Connection[Any], view: Projection, found: tuple[str, bool] | None) -> None:
    exists = connection.execute(TABLE_EXISTS, (view.tables[0],)).fetchone() == (True,)
    if exists:
        log.warning("view begins again", view=view.name, reason=_reason(view, found))
    for table in view.tables:
        connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(table)))
    connection.execute(UNPARK, (view.name,))
    connection.execute(view.schema.encode())
    connection.execute(BEGIN_AGAIN, (view.name, form_of(view)))


def _reason(view: Projection, found: tuple[str, bool] | None) -> str:
    if found is None:
        return "its bookmark was lost"
    if found[0] != form_of(view):
        return "its rows had another form"
    return "its bookmark was ahead of the log"


async def begin_again_without_bookmark(connection: AsyncConnection, view: Projection) -> None:
    """Create the tables of a view anew if its bookmark is lost, because the position of its rows is unknown."""
    async with connection.transaction():
        cursor = await connection.execute(STATE, (view.name,))
        if await cursor.fetchone() is not None:
            return
        log.warning("view begins again", view=view.name, reason=_reason(view, None))
        for table in view.tables:
            await connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(table)))
        await connection.execute(view.schema.encode())
        await connection.execute(UNPARK, (view.name,))
        await connection.execute(BEGIN_AGAIN, (view.name, form_of(view)))
