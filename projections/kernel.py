"""What a view is, and how it follows the log: rows and bookmark move in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import ClassVar, NamedTuple, Protocol

import psycopg
import structlog
from psycopg import AsyncConnection

from domain.codec import Stored
from domain.kernel import Recorded
from domain.recorder import session_options
from domain.store import Store

PAGE = 1_000

BOOKMARK = "SELECT position, generation FROM bookmarks WHERE view = %s FOR UPDATE"
MOVE = "UPDATE bookmarks SET position = %s WHERE view = %s"
BEGIN_BOOKMARK = "INSERT INTO bookmarks (view, position) VALUES (%s, 0) ON CONFLICT DO NOTHING"
PARK = """INSERT INTO parked (view, position, stream, type, error) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING"""

log = structlog.get_logger()


class View(Protocol):
    """One read model. `schema` creates its tables and names no schema: a rebuild runs the same SQL
    in a schema of its own. Sealed fields reach it as `Ciphertext` and are stored as they are.
    """

    name: ClassVar[str]
    schema: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Bring the tables from before `page` to after it, in the transaction of `connection`.

        May keep states between pages. Whatever it raises undoes the page; then the events come one
        by one, and the one that fails is parked.
        """

    def forget(self) -> None:
        """Drop what is kept between pages: the tables have changed under it, or a page was undone."""


class Progress(NamedTuple):
    """How far a view is, and in which of its builds."""

    position: int
    generation: int


class Follower:
    """Brings one view up to the log, page by page, on a connection of its own.

    `behind` says whether the last page was full, so that there is probably another.
    """

    def __init__(self, view: View, store: Store) -> None:
        self.view = view
        self.parked = 0
        self.behind = False
        self._store = store
        self._left: Progress | None = None

    async def catch_up(self, connection: AsyncConnection, page: int = PAGE) -> Progress | None:
        """Apply the next page; None when there was none."""
        async with connection.transaction():
            progress = await _bookmark(connection, self.view.name)
            if progress != self._left:
                self.view.forget()
            rows = await self._store.read_on(connection, progress.position, page)
            self.behind = len(rows) == page
            if not rows:
                self._left = progress
                return None
            self._left = None
            await self._apply(connection, rows)
            after = Progress(rows[-1].position, progress.generation)
            await connection.execute(MOVE, (after.position, self.view.name))
        self._left = after
        return after

    async def _apply(self, connection: AsyncConnection, rows: Sequence[Stored]) -> None:
        try:
            async with connection.transaction():
                events = [self._store.codec.decode(row) for row in rows]
                await self.view.apply(connection, events)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever an event does, the view goes on
            self.view.forget()
            if len(rows) > 1:
                for row in rows:
                    await self._apply(connection, [row])
            else:
                await self._park(connection, rows[0], error)

    async def _park(self, connection: AsyncConnection, row: Stored, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"[:2000]
        log.error("event parked", view=self.view.name, position=row.position, error=reason)
        self.parked += 1
        place = (self.view.name, row.position, row.stream, row.type, reason)
        await connection.execute(PARK, place)


async def _bookmark(connection: AsyncConnection, view: str) -> Progress:
    cursor = await connection.execute(BOOKMARK, (view,))
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"the view {view} has no bookmark: its tables were never created")
    return Progress(*row)


def migrate(conninfo: str, schema: str, views: Sequence[View]) -> None:
    """Create what is missing of every view's tables; safe to run at every start, by many at once."""
    with psycopg.connect(conninfo, options=session_options(schema)) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
        connection.execute(files("projections").joinpath("schema.sql").read_bytes())
        for view in views:
            connection.execute(view.schema.encode())
            connection.execute(BEGIN_BOOKMARK, (view.name,))
