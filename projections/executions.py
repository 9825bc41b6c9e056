"""The executions as they are now: one row each, to be listed, found and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.codec import Codec, Snapshot
from domain.errors import Invalid
from domain.execution.events import EVENTS
from domain.execution.state import Execution
from domain.kernel import Held, Recorded, aggregate_id, replay
from domain.states import States
from projections import cursors
from projections.conditions import EVERYTHING, Condition, Every, sql
from projections.fields import COLUMNS, sortable
from projections.kinds import TEXT

CAPACITY = 8_192
BREATH = 100
MOST_ROWS = 500
STREAM = "execution/"

NAMES = tuple(column.field.column for column in COLUMNS)
DECLARED = ",\n    ".join(
    f"{c.field.column} {c.field.kind.column}{'' if c.field.nullable else ' NOT NULL'}"
    for c in COLUMNS
)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS executions (
    {DECLARED},
    tags text[] NOT NULL,
    metadata jsonb NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (id)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS executions_newest ON executions (created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_status ON executions (status, created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_service ON executions (service, created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_customer ON executions (customer, created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_provider ON executions (provider, created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_order ON executions (order_id);
CREATE INDEX IF NOT EXISTS executions_by_tag ON executions USING gin (tags)
    WITH (fastupdate = off);
CREATE INDEX IF NOT EXISTS executions_by_attribute ON executions
    USING gin (metadata jsonb_path_ops) WITH (fastupdate = off);
"""

ALL = (*NAMES, "tags", "metadata", "state")
TYPES = [column.field.kind.column.partition(" COLLATE")[0] for column in COLUMNS]
ARRAYS = ", ".join(f"%b::{kind}[]" for kind in [*TYPES, "text", "text", "bytea"])
WRITE = f"""INSERT INTO executions ({", ".join(ALL)})
    SELECT {", ".join(NAMES)}, tags::text[], metadata::jsonb, state
    FROM unnest({ARRAYS}) AS page ({", ".join(ALL)})
    ON CONFLICT (id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in ALL[1:])}"""
HELD = "id, version, position, updated_at, state"
PATHS = tuple(column.field.path for column in COLUMNS)
READ = f"SELECT {', '.join(NAMES)}, {HELD} FROM executions WHERE id = ANY(%b::text[])"
LOAD = f"SELECT {HELD} FROM executions WHERE id = ANY(%b::text[])"
BOOKMARK = "SELECT position FROM bookmarks WHERE view = 'executions'"


Row = tuple[dict[str, Any], Held[Execution]]
"""The columns by the paths of their fields, and the state."""


class Page(NamedTuple):
    """Some executions, sealed fields as `Ciphertext`, as of a position of the log."""

    data: list[Held[Execution]]
    next_cursor: str | None
    position: int
    total: int | None = None


class Executions:
    """The view. An instance follows one set of tables; its queries may run beside it."""

    name: ClassVar[str] = "executions"
    schema: ClassVar[str] = SCHEMA
    tables: ClassVar[tuple[str, ...]] = ("executions",)
    gathers: ClassVar[float] = 0.005
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in EVENTS)

    def __init__(self, codec: Codec, capacity: int = CAPACITY) -> None:
        self._codec = codec
        self._held = States(capacity)

    def forget(self) -> None:
        """Drop the states kept between pages."""
        self._held.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Fold the page onto the states it touches, and write each of them once."""
        tails: dict[str, list[Recorded]] = {}
        for event in page:
            tails.setdefault(event.stream, []).append(event)
        await self._load(connection, [stream for stream in tails if stream not in self._held])
        changed = []
        for stream, tail in tails.items():
            if (held := replay(self._held.get(stream), tail)) is not None:
                self._held.keep(stream, held)
                changed.append(held)
        await self._write(connection, changed)
        self._held.trim()

    async def _load(self, connection: AsyncConnection, streams: Sequence[str]) -> None:
        if streams:
            ids = [aggregate_id(stream) for stream in streams]
            # Never prepared: a plan made while the table was empty reads all of it for long.
            cursor = await connection.execute(LOAD, (ids,), prepare=False, binary=True)
            for row in await cursor.fetchall():
                self._held.keep(STREAM + row[0], self._thaw(row))

    async def _write(self, connection: AsyncConnection, changed: Sequence[Held[Execution]]) -> None:
        rows = []
        for held in changed:
            rows.append(self._row(held))
            if len(rows) % BREATH == 0:
                await asyncio.sleep(0)
        columns = [list(column) for column in zip(*rows, strict=True)]
        await connection.execute(WRITE, columns, prepare=True)

    def _row(self, held: Held[Execution]) -> list[Any]:
        state = held.state
        row = [column.value(held) for column in COLUMNS]
        row += _array(state.tags), orjson.dumps(state.metadata).decode()
        row.append(self._codec.freeze(STREAM + state.id, held, None).state)
        return row

    def _thaw(self, row: Sequence[Any]) -> Held[Execution]:
        return self._codec.thaw(Snapshot(STREAM + row[0], *row[1:]))

    async def find(
        self,
        connection: AsyncConnection,
        condition: Condition = EVERYTHING,
        *,
        sort: str = cursors.DEFAULT_SORT,
        limit: int = 50,
        cursor: str | None = None,
        count: bool = False,
        scope: Condition = EVERYTHING,
    ) -> Page:
        """The rows within `scope` that meet `condition`, a page of them; `count` adds their number.

        Raises:
            Invalid: the sort, the limit or the cursor is not valid.
        """
        if not 1 <= limit <= MOST_ROWS:
            raise Invalid.field("limit", f"this is from 1 to {MOST_ROWS}")
        keys = cursors.order(sort, sortable)
        position = await self.position(connection)
        values: list[Any] = []
        where = sql(Every((scope, condition)), values)
        if cursor is not None:
            place = cursors.decode(cursor, sort, condition, keys)
            where += f" AND {cursors.after(keys, place, values)}"
        query = f"""SELECT {HELD}, {", ".join(key.rank for key in keys)} FROM executions
            WHERE {where} ORDER BY {", ".join(key.clause for key in keys)} LIMIT {limit + 1}"""
        # Never prepared: the plan depends on how common a value is.
        rows = await (
            await connection.execute(query, values, prepare=False, binary=True)
        ).fetchall()
        following = None
        if len(rows) > limit:
            following = cursors.encode(sort, condition, rows[limit - 1][5:])
        total = await self.count(connection, condition, scope) if count else None
        return Page([self._thaw(row[:5]) for row in rows[:limit]], following, position, total)

    async def count(
        self,
        connection: AsyncConnection,
        condition: Condition = EVERYTHING,
        scope: Condition = EVERYTHING,
    ) -> int:
        """How many rows within `scope` meet `condition`."""
        values: list[Any] = []
        query = f"SELECT count(*) FROM executions WHERE {sql(Every((scope, condition)), values)}"
        cursor = await connection.execute(query, values, prepare=False)
        return int((await cursor.fetchall())[0][0])

    async def counts(
        self,
        connection: AsyncConnection,
        by: str = "status",
        condition: Condition = EVERYTHING,
        scope: Condition = EVERYTHING,
    ) -> dict[str | None, int]:
        """How many rows there are for each value of a text field.

        Raises:
            Invalid: there is no such field, or it is not text.
        """
        field = sortable(by)
        if field is None or not (field.kind is TEXT or field.kind.words):
            raise Invalid.field("by", f"`{by}` is nothing to count by")
        values: list[Any] = []
        query = f"""SELECT {field.column}, count(*) FROM executions
            WHERE {sql(Every((scope, condition)), values)} GROUP BY 1 ORDER BY 2 DESC, 1"""
        cursor = await connection.execute(query, values, prepare=False)
        return dict(await cursor.fetchall())

    async def stored(self, connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Row]:
        """Rows as they stand, by id: the columns by their paths, and the state."""
        cursor = await connection.execute(READ, (list(ids),), binary=True)
        return {
            row[0]: (dict(zip(PATHS, row, strict=False)), self._thaw(row[-5:]))
            for row in await cursor.fetchall()
        }

    def expected(self, held: Held[Execution]) -> Row:
        """What `stored` should find."""
        columns = {column.field.path: column.value(held) for column in COLUMNS}
        return columns, self._thaw((held.state.id, *self._codec.freeze(STREAM, held, None)[1:]))

    async def position(self, connection: AsyncConnection) -> int:
        """How far the rows go, at least."""
        cursor = await connection.execute(BOOKMARK, binary=True)
        return int((await cursor.fetchall())[0][0])


def _array(tags: Sequence[str]) -> str:
    """The text of an array: an array of arrays cannot be bound, as in SQL those are rectangles.

    JSON escapes quotes and backslashes as an array's text does, and a tag has nothing else to escape.
    """
    return "{" + orjson.dumps(tags).decode()[1:-1] + "}"
