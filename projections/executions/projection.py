"""The executions as they are now: one row each, to be listed, found and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.errors import Invalid
from domain.eventlog.codec import Codec, Snapshot, fingerprint, frozen, sealed_json
from domain.eventlog.pg_arrays import array, columns
from domain.eventlog.states import sealed_states
from domain.execution.events import EVENTS
from domain.execution.state import Execution
from domain.lru import LruCache
from domain.model import Recorded, Versioned, aggregate_id, replay
from projections.executions.columns import COLUMNS, sortable
from projections.executions.tables import (
    BODY,
    BODY_KINDS,
    BOOKMARK,
    KINDS,
    LOAD,
    SCHEMA,
    WRITE,
)
from projections.query import pagination
from projections.query.ast import EVERYTHING, And, Condition
from projections.query.field_types import TEXT
from projections.query.sql import sql
from projections.representations.execution import document
from projections.representations.execution_schema import ServiceExecution

CAPACITY = 8_192
YIELD_EVERY = 100
MOST_ROWS = 500
STREAM = "execution/"


DOCUMENTS = fingerprint(ServiceExecution.model_json_schema())


class Listed(NamedTuple):
    """An execution as clients see it: JSON with tokens in the place of sealed fields."""

    id: str
    document: bytes


class Page(NamedTuple):
    """Some executions, as of a position of the log."""

    data: list[Listed]
    next_cursor: str | None
    position: int
    total: int | None = None


class Executions:
    """The view. An instance follows one set of tables; its queries may run beside it."""

    name: ClassVar[str] = "executions"
    tables: ClassVar[tuple[str, ...]] = ("executions",)
    gathers: ClassVar[float] = 0.005
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in EVENTS)
    by_stream: ClassVar[bool] = True
    compared: ClassVar[Mapping[str, str]] = {"executions": "true"}

    def __init__(self, codec: Codec, capacity: int = CAPACITY) -> None:
        self.schema = f"-- Holds states {codec.shape} and documents {DOCUMENTS}.{SCHEMA}"
        self._codec = codec
        self._held: LruCache[str, Versioned[Execution]] = LruCache(capacity, attrgetter("weight"))

    def forget(self) -> None:
        """Drop the states kept between pages."""
        self._held.clear()

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Fold the page onto the states it touches, and write each of them once."""
        tails: dict[str, list[Recorded]] = {}
        for event in page:
            tails.setdefault(event.stream, []).append(event)
        await self._load(
            connection,
            {
                stream: tail[0].version - 1
                for stream, tail in tails.items()
                if tail[0].version > 1 and stream not in self._held
            },
        )
        changed = []
        for stream, tail in tails.items():
            if (versioned := replay(self._held.get(stream), tail)) is not None:
                self._held.put(stream, versioned)
                changed.append(versioned)
                if len(changed) % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        await self._write(connection, changed)
        self._held.trim()

    async def _load(self, connection: AsyncConnection, versions: dict[str, int]) -> None:
        if not versions:
            return
        ids = [aggregate_id(stream) for stream in versions]
        # Never prepared: a plan made while the table was empty reads all of it for long.
        cursor = await connection.execute(LOAD, (ids,), prepare=False, binary=True)
        ended = {}
        for row in await cursor.fetchall():
            stream = STREAM + row[0]
            if (versioned := self._going_on(row)) is None:
                ended[stream] = versions[stream]
            else:
                self._held.put(stream, versioned)
        if ended:
            for stream, versioned in (await sealed_states(connection, self._codec, ended)).items():
                self._held.put(stream, versioned)

    async def _write(
        self, connection: AsyncConnection, changed: Sequence[Versioned[Execution]]
    ) -> None:
        bodies = []
        for versioned in changed:
            bodies.append(_body(versioned))
            if len(bodies) % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        arrays = []
        for column, kind in zip(COLUMNS, KINDS, strict=True):
            arrays.append(array(kind, list(map(column.value, changed))))
            if len(changed) > YIELD_EVERY:
                await asyncio.sleep(0)
        await connection.execute(WRITE, arrays + columns(BODY_KINDS, bodies), prepare=True)

    def _going_on(self, row: Sequence[Any]) -> Versioned[Execution] | None:
        """The state in a row; None where it has ended."""
        id_, version, position, at, state, _ = row
        if state is None:
            return None
        return self._codec.thaw(Snapshot(STREAM + id_, version, position, at, state))

    def _listed(self, row: Sequence[Any], now: datetime) -> Listed:
        versioned = self._going_on(row)
        return Listed(
            row[0], row[5] if versioned is None else sealed_json(document(versioned, now))
        )

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
        scope: Condition = EVERYTHING,
    ) -> Page:
        """The rows within `scope` that meet `condition`, a page of them; `count` adds their number.

        Durations of those that have not ended are counted until `now`.

        Raises:
            Invalid: the sort, the limit or the cursor is not valid.
        """
        if not 1 <= limit <= MOST_ROWS:
            raise Invalid.field("limit", f"must be from 1 to {MOST_ROWS}, but is {limit}")
        keys = pagination.order(sort, sortable)
        values: list[Any] = []
        where = sql(And((scope, condition)), values)
        if cursor is not None:
            place = pagination.decode(cursor, sort, condition, keys)
            where += f" AND {pagination.after(keys, place, values)}"
        query = _page(where, keys, limit + 1)
        # Never prepared: the plan depends on how common a value is.
        answer = await connection.execute(query, values, prepare=False, binary=True)
        found = await answer.fetchall()
        position, rows = found[0][0], [row[1:] for row in found if row[1] is not None]
        following = None
        if len(rows) > limit:
            following = pagination.encode(sort, condition, rows[limit - 1][6:])
        total = await self.count(connection, condition, scope) if count else None
        data = [self._listed(row[:6], now) for row in rows[:limit]]
        return Page(data, following, position, total)

    async def count(
        self,
        connection: AsyncConnection,
        condition: Condition = EVERYTHING,
        scope: Condition = EVERYTHING,
    ) -> int:
        """How many rows within `scope` meet `condition`."""
        values: list[Any] = []
        query = f"SELECT count(*) FROM executions WHERE {sql(And((scope, condition)), values)}"
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
            raise Invalid.field("by", f"must be a text field of an execution, but is `{by}`")
        values: list[Any] = []
        query = f"""SELECT {field.column}, count(*) FROM executions
            WHERE {sql(And((scope, condition)), values)} GROUP BY 1 ORDER BY 2 DESC, 1"""
        cursor = await connection.execute(query, values, prepare=False)
        return dict(await cursor.fetchall())

    async def position(self, connection: AsyncConnection) -> int:
        """How far the rows go, at least."""
        cursor = await connection.execute(BOOKMARK, binary=True)
        return int((await cursor.fetchall())[0][0])


def _page(where: str, keys: Sequence[pagination.Key], limit: int) -> str:
    """Rows in order, each with the view's position in front; of no rows, the position alone."""
    ranks = ", ".join(f"{key.rank} AS rank_{nth}" for nth, key in enumerate(keys))
    return f"""SELECT known.position, page.* FROM ({BOOKMARK}) AS known LEFT JOIN (
            SELECT {BODY}, {ranks} FROM executions WHERE {where}
            ORDER BY {", ".join(key.clause for key in keys)} LIMIT {limit}) AS page ON true
        ORDER BY {", ".join(key.ordering(f"rank_{nth}") for nth, key in enumerate(keys))}"""


def _body(versioned: Versioned[Execution]) -> tuple[str, str, bytes | None, bytes | None]:
    """Tags, metadata, and either the state or the document."""
    state = versioned.state
    tags, metadata = _array(state.tags), orjson.dumps(state.metadata).decode()
    if state.final:
        return tags, metadata, None, sealed_json(document(versioned, versioned.at))
    return tags, metadata, frozen(state), None


def _array(tags: Sequence[str]) -> str:
    """The text of an array: an array of arrays cannot be bound, as in SQL those are rectangles.

    JSON escapes quotes and backslashes as an array's text does, and a tag has nothing else to escape.
    """
    return "{" + orjson.dumps(tags).decode()[1:-1] + "}"
