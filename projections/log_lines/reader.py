"""Log lines by the time they are of: what workers sent, and what the server notes on its own.

Lines are telemetry, not events. Those of workers are in `log_lines`, which the writer appends to and
no rebuild touches, as they are nowhere else; the server's follow from events and are in `log_notes`,
which is the projection. Readers get both, by time. Messages and contexts are sealed, so nothing can
search in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from domain.errors import Invalid
from domain.eventlog.store import Store
from domain.execution.types import LogLevel
from domain.json_forms import MILLISECOND
from projections.log_lines.model import Kept, shown

LATEST = 100
READ = """SELECT * FROM (
        (SELECT occurred_at, 0 AS origin, id, at, level, step, said, sealed FROM log_notes
            WHERE {where} AND (occurred_at, 0, id) {beyond} (%s, %s, %s)
            ORDER BY occurred_at {direction}, id {direction} LIMIT %s)
        UNION ALL
        (SELECT occurred_at, 1 AS origin, id, at, level, step, NULL, sealed FROM log_lines
            WHERE {where} AND (occurred_at, 1, id) {beyond} (%s, %s, %s)
            ORDER BY occurred_at {direction}, id {direction} LIMIT %s)
    ) AS line ORDER BY occurred_at {direction}, origin {direction}, id {direction} LIMIT %s"""
TOTAL = """SELECT (SELECT count(*) FROM log_lines WHERE execution = %b)
    + (SELECT count(*) FROM log_notes WHERE execution = %b)"""
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class LogFilter(NamedTuple):
    """Which lines: `since` is inclusive, `until` exclusive."""

    level: Sequence[LogLevel] = ()
    step: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class LogLinePage(NamedTuple):
    """Lines as clients see them, and the cursor of the next page, if any."""

    data: list[dict[str, Any]]
    next_cursor: str | None


class LogLinePages:
    """Reads the lines of workers together with the server's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(
        self,
        execution: str,
        only: LogFilter = LogFilter(),  # noqa: B008 - a value, and one that cannot change
        *,
        descending: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> LogLinePage:
        """A page of lines, by the time they are of. Whether the execution exists is not asked.

        Raises:
            Invalid: the cursor is not one of these pages.
        """
        direction, beyond = ("DESC", "<") if descending else ("ASC", ">")
        place = _place(cursor) if cursor else ((LAST, 2, 0) if descending else (FIRST, -1, 0))
        conditions, values = _conditions(execution, only, place[0], descending=descending)
        query = READ.format(direction=direction, beyond=beyond, where=conditions)
        half = [*values, *place, limit + 1]
        key = (await self._store.keys([f"execution/{execution}"]))[f"execution/{execution}"]
        async with self._store.reader() as connection:
            result = await connection.execute(query, [*half, *half, limit + 1], prepare=False)
            rows = await result.fetchall()
        more = _cursor(*rows[limit - 1][:3]) if len(rows) > limit else None
        return LogLinePage([shown(Kept(*row), key) for row in rows[:limit]], more)

    async def latest(self, execution: str, limit: int = LATEST) -> tuple[list[dict[str, Any]], int]:
        """The last lines, oldest first, and how many there are in all."""
        page = await self.read(execution, descending=True, limit=limit)
        if page.next_cursor is None:
            return page.data[::-1], len(page.data)
        async with self._store.reader() as connection:
            rows = await (await connection.execute(TOTAL, (execution, execution))).fetchall()
        return page.data[::-1], rows[0][0]


def _conditions(
    execution: str, only: LogFilter, edge: datetime, *, descending: bool
) -> tuple[str, list[Any]]:
    """`edge` says again what the cursor does, in words that an index understands."""
    parts = ["execution = %s", f"occurred_at {'<=' if descending else '>='} %s"]
    chosen, values = filtered(only)
    return " AND ".join([*parts, *chosen]), [execution, edge, *values]


def filtered(only: LogFilter) -> tuple[list[str], list[Any]]:
    """The conditions of a filter, and their values in order."""
    parts: list[str] = []
    values: list[Any] = []
    limits = (
        ("level = ANY(%s)", list(only.level) or None),
        ("step = %s", only.step),
        ("occurred_at >= %s", only.since),
        ("occurred_at < %s", only.until),
    )
    for condition, value in limits:
        if value is not None:
            parts.append(condition)
            values.append(value)
    return parts, values


def _cursor(occurred_at: datetime, origin: int, number: int) -> str:
    return f"{(occurred_at - FIRST) // MILLISECOND}.{origin}.{number}"


def _place(cursor: str) -> tuple[datetime, int, int]:
    try:
        moment, origin, number = (int(part) for part in cursor.split(".") if len(part) < 20)
        if not number < 2**63:
            raise ValueError("it is out of range")
        return FIRST + moment * MILLISECOND, origin, number
    except (ValueError, OverflowError):
        raise Invalid.field("cursor", "must be `nextCursor` of a page of these log lines") from None
