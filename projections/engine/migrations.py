"""Makes the tables of the projections, and empties those whose rows changed their form."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files

import psycopg
import structlog
from psycopg.sql import SQL, Identifier

from domain.errors import Overloaded
from domain.eventlog.sessions import session_options
from projections.engine.projection import Projection

log = structlog.get_logger()
BEGIN_BOOKMARK = "INSERT INTO bookmarks (view, position) VALUES (%s, 0) ON CONFLICT DO NOTHING"
FORM = "SELECT form FROM bookmarks WHERE view = %s"
BEGIN_AGAIN = "UPDATE bookmarks SET position = 0, generation = generation + 1 WHERE view = %s"
KEEP_FORM = "UPDATE bookmarks SET form = %s WHERE view = %s AND form <> %s"
FORGIVE = "DELETE FROM parked WHERE view = %s"


def migrate_projections(conninfo: str, schema: str, views: Sequence[Projection]) -> None:
    """Create what is missing of every view's tables; safe to run at every start, by many at once.

    A view whose rows are of another form, as another program wrote them, begins again with none.
    """
    try:
        _migrate(conninfo, schema, views)
    except psycopg.OperationalError as error:
        raise Overloaded(f"The database is away or busy: {error}".strip()) from error


def _migrate(conninfo: str, schema: str, views: Sequence[Projection]) -> None:
    with psycopg.connect(conninfo, options=session_options(schema)) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
        connection.execute(files("projections.engine").joinpath("schema.sql").read_bytes())
        for view in views:
            form = sha256(view.schema.encode()).hexdigest()[:16]
            found = connection.execute(FORM, (view.name,)).fetchone()
            if found == (form,):  # no statement that waits for a lock, or makes others wait
                continue
            if found is not None:
                log.warning("view begins again: its rows were of another form", view=view.name)
                for table in view.tables:
                    connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(table)))
                connection.execute(BEGIN_AGAIN, (view.name,))
                connection.execute(FORGIVE, (view.name,))
            connection.execute(view.schema.encode())
            connection.execute(BEGIN_BOOKMARK, (view.name,))
            connection.execute(KEEP_FORM, (form, view.name, form))
