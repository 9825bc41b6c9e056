"""Reads the times at which the first and the last execution of each group were created."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.json_forms import format_time
from projections.analytics.tables import ENDED, OPEN

FACTS = "analytics_facts"
WITHOUT_INDEX = (None, "day", "status")
"""Columns by which the facts of executions that have not ended have no index with the creation: those facts are all read,
once for all groups."""

MOST_LOOKED_UP = 1_000
"""Groups whose first and last times are looked up in an index. For more groups, all facts are read."""
SEEN = """SELECT {group}, min(created_at), max(created_at) FROM {table}
    WHERE {where} GROUP BY 1"""
SEEN_EACH = """SELECT wanted.value,
        (SELECT created_at FROM {table} WHERE {meant} ORDER BY created_at LIMIT 1),
        (SELECT created_at FROM {table} WHERE {meant} ORDER BY created_at DESC LIMIT 1)
    FROM unnest(%b::text[]) AS wanted (value)"""
OF_A_DAY = "created_at >= wanted.value::date AND created_at < wanted.value::date + 1"


class CreationTimes(NamedTuple):
    """The times of creation of the first and of the last execution; None without executions."""

    first: datetime | None = None
    last: datetime | None = None

    def members(self) -> dict[str, str | None]:
        """Return the times as members of an answer."""
        return {
            "firstSeen": format_time(self.first) if self.first else None,
            "lastSeen": format_time(self.last) if self.last else None,
        }

    @classmethod
    def of(cls, several: Sequence[tuple[datetime | None, datetime | None]]) -> CreationTimes:
        """Return the earliest first and the latest last time of several groups."""
        firsts = [first for first, _ in several if first]
        lasts = [last for _, last in several if last]
        return cls(min(firsts, default=None), max(lasts, default=None))


async def look_up(
    connection: AsyncConnection, column: str | None, values: Sequence[str]
) -> dict[str, CreationTimes]:
    """Return the creation times for each value of a column that has an index with the creation; None: of all executions."""
    meant = "true" if column is None else f"{column} = wanted.value"
    table = ENDED if column in WITHOUT_INDEX else FACTS
    query = SEEN_EACH.format(table=table, meant=OF_A_DAY if column == "day" else meant)
    cursor = await connection.execute(query, (list(values),), binary=True)
    found = {row[0]: CreationTimes(*row[1:]) for row in await cursor.fetchall()}
    if column not in WITHOUT_INDEX:
        return found
    of_open = await read(connection, column or "''", "true", (), table=OPEN)
    return {
        value: CreationTimes.of([of_ended, of_open.get(value, CreationTimes())])
        for value, of_ended in found.items()
    }


async def read(
    connection: AsyncConnection,
    group: str,
    where: str,
    values: Sequence[Any],
    table: str = FACTS,
) -> dict[str, CreationTimes]:
    """Return the creation times for each group of the facts that meet a condition."""
    query = SEEN.format(group=group, where=where, table=table)
    cursor = await connection.execute(query, values, prepare=False, binary=True)
    return {row[0]: CreationTimes(*row[1:]) for row in await cursor.fetchall()}
