"""Verifies the log against its rules, and every column of every row of the projections against its events.

The tables of the projections are built anew in a schema of their own, as by a rebuild. The log is read and decoded
once for all of them and for its own check, by several processes if it is long. Then the old and the new tables are
read side by side, in the order of their keys. Each portion is compared in one short transaction on one snapshot: it
reads the bookmark of the tables that serve, brings the new tables to that position, and compares. So events may be
written meanwhile, and the cost is that of a rebuild and of one pass over the tables.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.sql import SQL, Identifier

from domain.eventlog.store import Store
from domain.integrity.fault import Fault
from domain.integrity.log import ends, head_faults
from projections.engine.follower import Follower
from projections.engine.migrations import form_of
from projections.engine.pages import LogPages
from projections.engine.parallel_rebuild import (
    OnProgress,
    Processes,
    Share,
    apply_all,
    apply_here,
    unseen,
)
from projections.engine.projection import Projection
from projections.engine.rebuild import (
    DROP,
    PAGE,
    SHARED,
    Names,
    ScratchSchema,
    drop_indexes,
    open_scratch,
    shares_of,
)
from projections.engine.verification.comparison import ComparedTable, Row
from projections.engine.verification.log_check import SCHEMA as LOG_FAULTS
from projections.engine.verification.log_check import read_faults

PURPOSE, ALL = "verify", "views"
"""The purpose and the name of the new tables, which stand for all views at once."""
NO_IDLE_TIMEOUT = "SET idle_in_transaction_session_timeout = 0"
UNLOGGED = SQL("ALTER TABLE {scratch}.{table} SET UNLOGGED")
PLAIN = """SELECT relname FROM pg_class
    WHERE relnamespace = %s::regnamespace AND relkind = 'r' AND relname = ANY(%s)"""
"""The new tables that can be made unlogged: not partitioned ones. They need not survive a crash."""
BOOKMARK_AND_HEAD = SQL("""SELECT b.position, b.generation, b.form, coalesce(head.position, 0)
    FROM (VALUES (1)) AS one LEFT JOIN head ON true
    LEFT JOIN {main}.bookmarks AS b ON b.view = {view}""")
REACHED = SQL("SELECT position FROM {own}.bookmarks WHERE view = {view}")
HOLD = SQL("LOCK TABLE {tables} IN ACCESS SHARE MODE")
PARKED = SQL(
    "SELECT position, stream, error FROM {own}.parked WHERE view = {view} ORDER BY position"
)
TABLE_EXISTS = "SELECT to_regclass(%s) IS NOT NULL"


class MadeAnew(Exception):
    """The view was rebuilt, or began again with no rows, while it was verified."""


@dataclass(slots=True)
class VerifiedView:
    """The number of rows of a view that were compared, their position, and the last position of the log then."""

    view: str
    position: int = 0
    head: int = 0
    rows: int = 0


@dataclass(slots=True)
class LogVerification:
    """The number of events that were checked, and the views that were compared."""

    events: int = 0
    views: list[VerifiedView] = field(default_factory=list)


class Work(NamedTuple):
    """The views to verify, which must be instances that nothing else uses; the processes that share a long log; and
    the master key with which sealed fields are opened. Without the key, sealed fields are not opened.
    """

    views: Sequence[Projection]
    processes: Processes | None = None
    key: bytes | None = None


async def verify(
    conninfo: str,
    store: Store,
    work: Work,
    verification: LogVerification,
    on_progress: OnProgress = unseen,
) -> AsyncIterator[Fault]:
    """Yield the faults of the log in the order of their positions, then each difference between the rows of the
    projections and their events, up to the bookmarks of the projections.

    The database needs room for a second copy of the tables of the views.

    Raises:
        MadeAnew: another process has rebuilt a view meanwhile, or a view began again.
        RebuildUnderWay: another process is verifying.
        PartFailed: one of the processes failed or was killed.
    """
    found = await ends(store)
    for fault in head_faults(found):
        yield fault
    verification.events = found.end
    scratch = ScratchSchema(conninfo, store.schema, ALL, PURPOSE)
    async with open_scratch(scratch, work.views) as (connection, names):
        await _prepare(connection, scratch, names, work.views)
        views = [_Verifying(connection, names, view, store) for view in work.views]
        try:
            faults = [await view.begin() for view in views]
            until = {view.name: view.until for view in views if view.comparable}
            shares = _shares(scratch, until, found.end, work)
            await _build(connection, shares, work, store, on_progress)
            async for fault in read_faults(connection):
                yield fault
            for view, found_first in zip(views, faults, strict=True):
                verification.views.append(view.verified)
                async for fault in view.compare(found_first):
                    yield fault
        finally:
            with suppress(psycopg.Error):
                await connection.execute(DROP.format(**names))


def _shares(scratch: ScratchSchema, until: Mapping[str, int], end: int, work: Work) -> list[Share]:
    count = work.processes.number if work.processes and end >= SHARED else 1
    key = None if work.key is None else b64encode(work.key).decode()
    return [share._replace(log=end, key=key) for share in shares_of(scratch, until, count)]


async def _build(
    connection: AsyncConnection,
    shares: Sequence[Share],
    work: Work,
    store: Store,
    on_progress: OnProgress,
) -> None:
    if work.processes and len(shares) > 1:
        await apply_all(connection, shares, work.processes, on_progress)
    else:
        await apply_here(connection, shares[0], work.views, store, on_progress)


async def _prepare(
    connection: AsyncConnection, scratch: ScratchSchema, names: Names, views: Sequence[Projection]
) -> None:
    """Prepare the new tables to be filled fast: without indexes that are not unique, and without a write-ahead log."""
    await connection.execute(NO_IDLE_TIMEOUT)
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.execute(LOG_FAULTS)
    await drop_indexes(connection, scratch.own)
    for view in views:
        plain = await connection.execute(PLAIN, (scratch.own, list(view.tables)))
        for (table,) in await plain.fetchall():
            await connection.execute(UNLOGGED.format(table=Identifier(table), **names))


class _Verifying:
    """The verification of one view."""

    def __init__(
        self, connection: AsyncConnection, names: Names, view: Projection, store: Store
    ) -> None:
        self.name = view.name
        self.verified = VerifiedView(view.name)
        self.comparable = True
        self.until = 0
        """The position up to which the rows are compared: that of the bookmark, but at most the head of the log."""
        self._connection = connection
        self._view = view
        self._names = {"main": names["main"], "own": names["scratch"]}
        self._follower = Follower(view, LogPages(store, view.types), PAGE)
        self._generation: int | None = None

    async def begin(self) -> list[Fault]:
        """Read the bookmark of the view; return the faults of the bookmark, and one for each missing table."""
        position, self._generation, form, head = await self._read_bookmark_and_head()
        self.verified.head = head
        if position is None or form != form_of(self._view):
            self.comparable = False
            missing = "there is none: the rows are made again at the next start, or by a rebuild"
            other_form = "the rows are of another form: they are made again at the next start"
            return [self._fault("bookmark", missing if position is None else other_form)]
        absent = [name for name in self._view.tables if not await self._table_exists(name)]
        self.comparable = not absent
        faults = [self._fault(name, "there is no such table") for name in absent]
        if position > head:
            faults.append(self._fault("bookmark", f"is at {position}, and the log ends at {head}"))
        self.until = min(position, head)
        return faults

    async def compare(self, found_first: Sequence[Fault]) -> AsyncIterator[Fault]:
        """Yield the faults that `begin` has found, the differences in the tables, and the events that were parked."""
        for fault in found_first:
            yield fault
        if not self.comparable:
            return
        for name, condition in self._view.compared.items():
            async for fault in self._compare(name, condition):
                yield fault
        query = PARKED.format(view=self._view.name, **self._names)
        for position, stream, error in await (await self._connection.execute(query)).fetchall():
            yield self._fault(f"event at {position} of {stream}", f"cannot be applied: {error}")

    async def _compare(self, name: str, condition: str) -> AsyncIterator[Fault]:
        """Compare the rows of one table, portion by portion, and yield a fault for each difference."""
        table = await ComparedTable.find(
            self._connection, name, self._names["main"], self._names["own"], condition
        )
        last: Row | None = None
        while True:
            async with self._connection.transaction():
                await self._catch_up()
                portion = await table.compare(self._connection, last)
            self.verified.rows += portion.rows
            for difference in portion.differences:
                place = "/".join(str(part) for part in difference.key)
                yield self._fault(f"{name} {place}", difference.what)
            if portion.last is None:
                return
            last = portion.last

    async def _catch_up(self) -> None:
        """Bring the new tables to the bookmark of the tables that serve, as the caller's transaction sees it."""
        tables = [
            SQL("{}.{}").format(self._names["main"], Identifier(t)) for t in self._view.tables
        ]
        # Locked before the transaction takes its snapshot, because a rebuild may replace the tables.
        await self._connection.execute(HOLD.format(tables=SQL(", ").join(tables)))
        position, generation, _, head = await self._read_bookmark_and_head()
        if generation != self._generation or position is None:
            raise MadeAnew(f"the view {self._view.name} was made anew meanwhile: verify it again")
        self.verified.head = head
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
        self.verified.position = position

    async def _read_bookmark_and_head(self) -> Sequence[Any]:
        """Return the position, generation and form of the bookmark, None without one, and the head of the log."""
        query = BOOKMARK_AND_HEAD.format(view=self._view.name, main=self._names["main"])
        [row] = await (await self._connection.execute(query)).fetchall()
        return row

    async def _table_exists(self, name: str) -> bool:
        table = SQL("{}.{}").format(self._names["main"], Identifier(name))
        cursor = await self._connection.execute(TABLE_EXISTS, (table.as_string(self._connection),))
        [(exists,)] = await cursor.fetchall()
        return bool(exists)

    def _fault(self, place: str, what: str) -> Fault:
        return Fault(self._view.name, place, what)
