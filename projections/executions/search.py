"""Finds the rows of a page, by the way that costs least.

The planner knows how common the values of a field are on average, and nothing of those of free attributes. Where it
expects too many, it reads along the order for a page that never becomes full; where it expects too few, it looks
them all up. So a field with an index is asked first whether few rows have its values, and else the first rows of the
order are tried, which have the page if the value is common. What neither answers is left to the planner.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from time import monotonic
from typing import Any

from psycopg import AsyncConnection

from projections.executions.indexes import FILTERED_BY, SELDOM_SET, SORTED_BY, WITH_CREATION
from projections.executions.page_query import SortValues, Way, order_of, page_query
from projections.executions.tables import WITH_POSITION
from projections.query.ast import And, Compare, Condition, Not, Or
from projections.query.field_types import ATTRIBUTE
from projections.query.pagination import TIES, SortKey
from projections.query.sql import sql

PLANNED_FOR = 10
"""Seconds for which a plan is used: one made while the tables were small reads all of large ones."""
MOST_LOOKED_UP = 3_000
"""Rows of which a page is made without an order: that takes as long as five walks."""
FEW_VALUES = 8
ORDERED = frozenset(("metadata.createdAt", *SORTED_BY))
LEADING = frozenset(("$id", "tags", *WITH_CREATION, *SELDOM_SET))
"""The index of a value of one of these leads on along the order of creation, or to few rows."""
BY_INDEX = "SET LOCAL enable_seqscan = off"
COUNT = f"""SELECT count(*) FROM (
    SELECT FROM executions WHERE {{where}} LIMIT {MOST_LOOKED_UP + 1}) AS hits"""

Rows = list[tuple[Any, ...]]


class Search:
    """The rows that meet a condition, in an order, behind some sort values, up to a limit."""

    def __init__(
        self, condition: Condition, keys: Sequence[SortKey], after: SortValues | None, limit: int
    ) -> None:
        self._condition = condition
        self._keys = keys
        self._after = after
        self._limit = limit

    async def rows(self, connection: AsyncConnection) -> Rows:
        """The rows of `page_query`, in order, behind the position of the view; where there are none, that alone."""
        if self._walks:
            part = _find_indexed(self._condition)
            if part is not None and (found := await self._look_up(connection, part)) is not None:
                return found
            found = await self._read(connection, Way.WALK)
            if found[0][1] == self._limit:
                return found
        return await self._read(connection, Way.PLANNED)

    async def _look_up(self, connection: AsyncConnection, part: Compare) -> Rows | None:
        """None where many rows have the values of that part."""
        # The planner expects that most rows have one of many values, and would read them all.
        by_index = len(part.operands) > FEW_VALUES
        async with connection.transaction() if by_index else nullcontext():
            if by_index:
                await connection.execute(BY_INDEX)
            few = await _few(connection, part)
            return await self._read(connection, Way.LOOK_UP) if few else None

    @property
    def _walks(self) -> bool:
        ordered = _has_index(self._keys)
        return ordered and _by_value(self._condition) and not _leads(self._condition)

    async def _read(self, connection: AsyncConnection, way: Way) -> Rows:
        values: list[Any] = []
        asked = (self._condition, self._keys, self._after, self._limit)
        page = page_query(*asked, values, way=way)
        query = WITH_POSITION.format(page=page, order=order_of(self._keys))
        # Where there are values, the best plan depends on how common they are.
        prepare = not values
        if prepare:
            query += f" -- {int(monotonic() / PLANNED_FOR)}"
        cursor = await connection.execute(query, values, prepare=prepare, binary=True)
        return await cursor.fetchall()


def _has_index(keys: Sequence[SortKey]) -> bool:
    """Whether rows are in this order along an index: all one way, and in that of their creation where a field is equal."""
    paths = tuple(key.field.path for key in keys)
    one_way = len({key.descending for key in keys}) == 1
    return one_way and paths[0] in ORDERED and paths in {TIES, (paths[0], *TIES)}


def _by_value(condition: Condition) -> bool:
    """Whether how many are found depends on how common a value is, or on a free attribute. Of ranges the planner knows enough."""
    match condition:
        case And(parts) | Or(parts):
            return any(map(_by_value, parts))
        case Not(part):
            return _by_value(part)
        case Compare(field, operator):
            return operator == "$in" or field.kind is ATTRIBUTE


def _leads(condition: Condition) -> bool:
    match condition:
        case And(parts):
            return any(map(_leads, parts))
        case Compare(field, "$in"):
            return field.path in LEADING
    return False


def _find_indexed(condition: Condition) -> Compare | None:
    """What all that is found must have in a field with an index, if there is such a field."""
    match condition:
        case And(parts):
            return next((found for part in parts if (found := _find_indexed(part))), None)
        case Compare(field, "$in", operands) if field.path in FILTERED_BY and None not in operands:
            return condition
    return None


async def _few(connection: AsyncConnection, part: Compare) -> bool:
    values: list[Any] = []
    query = COUNT.format(where=sql(part, values))
    cursor = await connection.execute(query, values, prepare=False, binary=True)
    [(count,)] = await cursor.fetchall()
    return bool(count <= MOST_LOOKED_UP)
