"""Finds the rows of a page in the way that costs least.

PostgreSQL's planner knows how common the values of a field are on average, and nothing about free attributes. If it
expects too many rows, it reads along the order for a page that never becomes full, also where only one of the tables has
none of them. If it expects too few, it looks up all of them. So this first counts, up to a limit, the rows that have the
wanted values of an indexed field, and looks them up if they are few. Else it tries the first rows in the order, which
fill the page if the values are common. If neither gives the page, the planner decides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from time import monotonic
from typing import Any

from psycopg import AsyncConnection

from projections.executions.indexes import FILTERED_BY, SELDOM_SET, SORTED_BY, WITH_CREATION
from projections.executions.page_query import SortValues, Way, order_of, page_query
from projections.executions.tables import BOOKMARK, WITH_POSITION
from projections.query.ast import And, Compare, Condition, Not, Or
from projections.query.field_types import ATTRIBUTE
from projections.query.pagination import TIES, SortKey
from projections.query.sql import sql

PLANNED_FOR = 10
"""Seconds for which a prepared plan is used: a plan made while the tables were small would scan large tables."""
MOST_LOOKED_UP = 3_000
"""Rows that are looked up and then sorted for a page: that takes as long as five walks along the order."""
FEW_VALUES = 8
"""Values of a field up to which the planner estimates the number of rows well enough."""
CREATED = "metadata.createdAt"
ORDERED = frozenset((CREATED, *SORTED_BY))
FEW_ROWS = frozenset(("$id", "tags", *SELDOM_SET))
"""Fields of which a value has few rows."""
LEADING = FEW_ROWS | {*WITH_CREATION}
"""With the fields whose index has the rows of one value in the order of creation."""
BY_INDEX = "SET LOCAL enable_seqscan = off"
COUNT = f"""SELECT ({BOOKMARK}), count(*) FROM (
    SELECT FROM executions WHERE {{where}} LIMIT {MOST_LOOKED_UP + 1}) AS hits"""

Rows = list[tuple[Any, ...]]


class Search:
    """Finds the first `limit` rows that meet a condition, in the order of `keys`, after some sort values."""

    def __init__(
        self, condition: Condition, keys: Sequence[SortKey], after: SortValues | None, limit: int
    ) -> None:
        self._condition = condition
        self._keys = keys
        self._after = after
        self._limit = limit

    async def rows(self, connection: AsyncConnection) -> Rows:
        """Return the rows of `page_query` in order, each after the position of the view. Without rows, a single row has
        the position, and None.
        """
        if self._may_walk:
            part = _find_indexed(self._condition)
            if part is not None and (found := await self._look_up(connection, part)) is not None:
                return found
            found = await self._read(connection, Way.WALK)
            if found[0][1] == self._limit:
                return found
        return await self._read(connection, Way.PLANNED)

    async def _look_up(self, connection: AsyncConnection, part: Compare) -> Rows | None:
        """Look up the rows that have the values of `part`; return None if those are many."""
        # For many values, the planner expects that most rows have one of them, and would scan the table.
        by_index = len(part.operands) > FEW_VALUES
        async with connection.transaction() if by_index else nullcontext():
            if by_index:
                await connection.execute(BY_INDEX)
            position, count = await _count(connection, part)
            if not count:
                return [(position, None)]
            few = count <= MOST_LOOKED_UP
            return await self._read(connection, Way.LOOK_UP) if few else None

    @property
    def _may_walk(self) -> bool:
        """Whether an index has the order, and the planner may misjudge the condition."""
        if not (_has_index(self._keys) and _by_value(self._condition)):
            return False
        by_creation = self._keys[0].field.path == CREATED
        return not _has_part(self._condition, LEADING if by_creation else FEW_ROWS)

    async def _read(self, connection: AsyncConnection, way: Way) -> Rows:
        values: list[Any] = []
        arguments = (self._condition, self._keys, self._after, self._limit)
        page = page_query(*arguments, values, way=way)
        query = WITH_POSITION.format(page=page, order=order_of(self._keys))
        # With values, the best plan depends on how common they are, so the statement is not prepared.
        prepare = not values
        if prepare:
            query += f" -- {int(monotonic() / PLANNED_FOR)}"
        cursor = await connection.execute(query, values, prepare=prepare, binary=True)
        return await cursor.fetchall()


def _has_index(keys: Sequence[SortKey]) -> bool:
    """Whether an index has this order: one direction for all keys, and ties in the order of creation."""
    paths = tuple(key.field.path for key in keys)
    one_way = len({key.descending for key in keys}) == 1
    return one_way and paths[0] in ORDERED and paths in {TIES, (paths[0], *TIES)}


def _by_value(condition: Condition) -> bool:
    """Whether the number of matching rows depends on how common certain values are, or on a free attribute. The planner
    estimates ranges of other fields well enough.
    """
    match condition:
        case And(parts) | Or(parts):
            return any(map(_by_value, parts))
        case Not(part):
            return _by_value(part)
        case Compare(field, operator):
            return operator == "$in" or field.kind is ATTRIBUTE


def _has_part(condition: Condition, paths: Collection[str]) -> bool:
    """Whether every matching row has one of some values of one of these fields."""
    match condition:
        case And(parts):
            return any(_has_part(part, paths) for part in parts)
        case Compare(field, "$in"):
            return field.path in paths
    return False


def _find_indexed(condition: Condition) -> Compare | None:
    """Return the comparison with an indexed field that every matching row must meet; None if there is none."""
    match condition:
        case And(parts):
            return next((found for part in parts if (found := _find_indexed(part))), None)
        case Compare(field, "$in", operands) if field.path in FILTERED_BY and None not in operands:
            return condition
    return None


async def _count(connection: AsyncConnection, part: Compare) -> tuple[int, int]:
    """Return the position of the view, and the number of rows that meet `part`, up to one more than `MOST_LOOKED_UP`."""
    values: list[Any] = []
    query = COUNT.format(where=sql(part, values))
    cursor = await connection.execute(query, values, prepare=False, binary=True)
    [(position, count)] = await cursor.fetchall()
    return position, count
