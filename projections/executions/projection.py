"""The view of executions as they are now: one row for each, by which lists find and count them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple

from psycopg import AsyncConnection

from domain.errors import Damaged, Invalid
from domain.eventlog.codec import Codec
from domain.eventlog.schema_fingerprint import fingerprint
from domain.execution.events import EVENTS
from domain.execution.state import Execution
from domain.lru import LruCache
from domain.model import Recorded, Versioned, aggregate_id
from projections.executions.columns import FIELDS, sortable
from projections.executions.page_query import within_bytes
from projections.executions.references import STREAM, Choose, Listed, whole
from projections.executions.rows import YIELD_EVERY, write
from projections.executions.search import Search
from projections.executions.stored_states import (
    STORED_AFTER,
    CachedState,
    ShownRows,
    StoredRow,
    advance,
    read_states,
    write_states,
)
from projections.executions.tables import (
    FIND_INACTIVE,
    LEAVE,
    LOAD,
    MOVE_ALL_TO_RESTING,
    MOVE_TO_RESTING,
    SCHEMA,
    TABLES,
    WHEN_GOING_ON,
)
from projections.executions.totals import add_created
from projections.query import pagination
from projections.query.ast import EVERYTHING, Condition
from projections.query.sql import sql
from projections.representations.execution_schema import ServiceExecution
from projections.representations.packing import FORM

CAPACITY = 4_096
"""The capacity of the cache of states between pages, in parts of states, of about 2 KB each."""
MOST_ACTIVE = 2_000
"""Rows that the table of active executions keeps: so many are scanned within a millisecond, without an index."""
LARGE = 16 * 1024 * 1024
"""Bytes from which on the table of active executions is emptied as far as possible: after many executions were active it
stays large, though mostly empty, while a row is in its last pages. The next vacuum then shrinks the table."""
MOST_MOVED = 50
"""Rows that are moved at once. The next page of all views waits meanwhile."""
MOST_FOUND = 20_000
"""Rows to move that are found at once, as that reads the whole table of active executions."""
MOST_ROWS = 500
"""Rows that a page of a list has at most."""
FIRST_SORT_VALUE = 2 + len(StoredRow._fields)
"""The index in a row of `WITH_POSITION` at which the sort values begin, after the view's position, the number of rows
and the `StoredRow`."""


DOCUMENTS = fingerprint(ServiceExecution.model_json_schema())


class ExecutionPage(NamedTuple):
    """A page of executions, as of a position of the log. `total` is the number of all that meet the filter."""

    data: list[Listed]
    next_cursor: str | None
    position: int
    total: int | None = None
    cursors: list[str] | None = None
    sort_values: list[list[Any]] | None = None
    """A cursor after each row, and the values in it, if requested."""

    def with_cursors(
        self, sort: str, condition: Condition, sort_values: Sequence[Sequence[Any]]
    ) -> ExecutionPage:
        """Return the page with cursors, which are made of the sort values of its rows."""
        values = pagination.json_values(sort_values)
        cursors = pagination.encode_all(sort, condition, values)
        return self._replace(cursors=cursors, sort_values=values)


class Executions:
    """The view of executions. An instance applies events to one set of tables; its queries may run at the same time."""

    name: ClassVar[str] = "executions"
    tables: ClassVar[tuple[str, ...]] = TABLES
    gathers: ClassVar[float] = 0.02
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in EVENTS)
    compared: ClassVar[Mapping[str, str]] = {
        "executions_open": "true",
        "executions_ended": "true",
        "execution_documents": "true",
        "execution_states": "true",
        "execution_totals": "true",
    }

    def __init__(self, codec: Codec, capacity: int = CAPACITY) -> None:
        states = f"{codec.shape}, stored after {STORED_AFTER}"
        self.schema = f"-- Holds states {states}, and documents {DOCUMENTS}, {FORM}.{SCHEMA}"
        self._codec = codec
        self._cache: LruCache[str, CachedState] = LruCache(capacity, attrgetter("weight"))
        self._shown = ShownRows(codec)
        self._inactive: list[str] = []
        """The ids of inactive executions that are still to be moved, the first one last."""

    def forget(self) -> None:
        """Drop what is kept between pages."""
        self._cache.clear()
        self._inactive.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Apply the page to the states of its executions, and write each of them once."""
        tails: dict[str, list[Recorded]] = {}
        for event in page:
            tails.setdefault(event.stream, []).append(event)
        await self._load(
            connection,
            [s for s, tail in tails.items() if tail[0].version > 1 and s not in self._cache],
        )
        changed: list[Versioned[Execution]] = []
        due: list[Versioned[Execution]] = []
        created: list[Execution] = []
        removed: dict[str, list[str]] = {}
        for stream, tail in tails.items():
            before = self._cache.get(stream)
            cached, stored = advance(before, tail)
            created += [] if before else [cached.versioned.state]
            for table in _tables_left(before, cached):
                removed.setdefault(table, []).append(cached.versioned.state.id)
            if cached.versioned.state.final:
                self._cache.pop(stream)  # further events are rare
            else:
                self._cache.put(stream, cached)
            changed.append(cached.versioned)
            due += [stored] if stored else []
            if len(changed) % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        for table, ids in removed.items():
            await connection.execute(LEAVE.format(table=table), (ids,), prepare=False)
        await write(connection, changed)
        await write_states(connection, due)
        await add_created(connection, created)
        self._cache.trim()

    async def _load(self, connection: AsyncConnection, streams: Sequence[str]) -> None:
        if not streams:
            return
        ids = list(map(aggregate_id, streams))
        # Not prepared: a plan made while the table was empty would scan the whole table later.
        cursor = await connection.execute(LOAD, (ids,), prepare=False, binary=True)
        found = await cursor.fetchall()
        rows = [StoredRow(*row[1:])._replace(document=None) for row in found]
        states = await read_states(connection, self._codec, rows)
        for row, (resting, *_) in zip(rows, found, strict=True):
            if row.id not in states:
                raise Damaged(stream=STREAM + row.id)
            state = states[row.id]._replace(resting=bool(resting))
            self._cache.put(STREAM + row.id, state)

    async def move_inactive(self, connection: AsyncConnection, until: int) -> bool:
        """Move some executions without an event after the position `until` to the resting ones, if many are active;
        return whether more may be left.
        """
        if not self._inactive:
            values = (until, LARGE, MOST_ACTIVE, MOST_FOUND)
            cursor = await connection.execute(FIND_INACTIVE, values, prepare=False)
            self._inactive = [row[0] for row in await cursor.fetchall()][::-1]
        ids = self._inactive[-MOST_MOVED:]
        del self._inactive[-MOST_MOVED:]
        cursor = await connection.execute(MOVE_TO_RESTING, (ids, until), prepare=False)
        for (moved,) in await cursor.fetchall():
            if (known := self._cache.peek(STREAM + moved)) is not None:
                self._cache.replace(STREAM + moved, known._replace(resting=True))
        return len(ids) == MOST_MOVED

    async def move_all_inactive(self, connection: AsyncConnection) -> None:
        """Move all executions that have not ended to the resting ones."""
        await connection.execute(MOVE_ALL_TO_RESTING)
        self.forget()

    async def find(
        self,
        connection: AsyncConnection,
        now: datetime,
        condition: Condition = EVERYTHING,
        *,
        sort: str = pagination.DEFAULT_SORT,
        limit: int = 50,
        cursor: str | None = None,
        count: bool = False,
        choose: Choose = whole,
        cursors: bool = False,
    ) -> ExecutionPage:
        """Return a page of the executions that meet `condition`. `count` adds their total number, `cursors` a cursor
        after each row.

        Durations of executions that have not ended count until `now`. `choose` selects the parts of a document that
        are shown. The page ends before its documents, content included, exceed `MOST_BYTES`.

        Raises:
            Invalid: the sort, the limit or the cursor is not valid.
        """
        if not 1 <= limit <= MOST_ROWS:
            raise Invalid.field("limit", f"must be from 1 to {MOST_ROWS}, but is {limit}")
        keys = pagination.order(sort, sortable, FIELDS)
        after = None if cursor is None else pagination.decode(cursor, sort, condition, keys)
        found = await Search(condition, keys, after, limit + 1).rows(connection)
        position, number = found[0][:2]
        rows = [StoredRow(*row[2:FIRST_SORT_VALUE]) for row in found[:limit] if number]
        documents = await self._shown.list_rows(connection, rows, now)
        shown = within_bytes(one.choose(choose) for one in documents)
        following, sort_values = None, [row[FIRST_SORT_VALUE:] for row in found[: len(shown)]]
        if (number or 0) > len(shown):
            following = pagination.encode(sort, condition, sort_values[-1])
        total = await self.count(connection, condition) if count else None
        page = ExecutionPage(shown, following, position, total)
        return page.with_cursors(sort, condition, sort_values) if cursors else page

    async def count(
        self,
        connection: AsyncConnection,
        condition: Condition = EVERYTHING,
    ) -> int:
        """Return the number of rows that meet `condition`."""
        values: list[Any] = []
        query = f"SELECT count(*) FROM executions WHERE {sql(condition, values)}"
        cursor = await connection.execute(query, values, prepare=False)
        return int((await cursor.fetchall())[0][0])


def _tables_left(before: CachedState | None, now: CachedState) -> list[str]:
    """Return the tables from which an execution is deleted because it ends, becomes active again, or continues after
    its end.
    """
    if before is None:
        return []
    tables = ["execution_states"] if before.stored_version and not now.stored_version else []
    had_ended, has_ended = before.versioned.state.final, now.versioned.state.final
    if before.resting:
        tables.append("executions_resting")
    elif has_ended and not had_ended:
        tables.append("executions_active")
    if had_ended and not has_ended:
        tables += WHEN_GOING_ON
    return tables
