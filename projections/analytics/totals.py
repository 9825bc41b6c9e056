"""Counts the executions of lists by the totals of analytics, which are a few rows for any number of executions."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from psycopg import AsyncConnection

from projections.query.ast import Compare, Condition
from projections.query.spans import Limited, Span

SLICED = ("service", "customer", "provider")
STATUS, CREATED, DAY = "status", "created_at", "day"
COUNTED_BY = (STATUS, *SLICED)
READ = """SELECT t.value, t.status, sum(t.executions)::bigint FROM bookmarks AS known
    LEFT JOIN analytics_totals AS t ON t.slice = %s AND (%s::text[] IS NULL OR t.value = ANY(%s))
        AND (%s::text[] IS NULL OR t.status = ANY(%s))
        AND (%s::text IS NULL OR t.value >= %s) AND (%s::text IS NULL OR t.value < %s)
    WHERE known.view = 'analytics' AND known.position = %s GROUP BY 1, 2"""
"""No row if the view is at another position; a row without a status if it is at this position and has no totals that
match."""


class Slice(NamedTuple):
    """The executions with certain values of one field, or of certain days, and with certain statuses; None for all."""

    field: str = ""
    values: tuple[str, ...] | None = None
    statuses: tuple[str, ...] | None = None
    days: Span = Span()


def slice_of(condition: Condition) -> Slice | None:
    """Return the slice that a condition selects; None if it selects executions in another way."""
    try:
        limited = Limited.by(condition, CREATED)
        if limited.span != limited.span.whole_days():
            return None
    except OverflowError:  # 9999-12-31, the last day of `datetime`, has no end
        return None
    found = Slice("" if limited.span == Span() else DAY, days=limited.span)
    for part in limited.condition.parts:
        if not isinstance(part, Compare) or part.operator != "$in" or None in part.operands:
            return None
        if part.field.path == STATUS and found.statuses is None:
            found = found._replace(statuses=part.operands)
        elif part.field.path in SLICED and not found.field:
            found = found._replace(field=part.field.path, values=part.operands)
        else:
            return None
    return found


async def counts(
    connection: AsyncConnection, condition: Condition, by: str, position: int
) -> dict[str, int] | None:
    """Return the number of executions that meet a condition, for each value of the field `by`, one of `COUNTED_BY`.

    None if no such totals are stored, or if those that are stored are not as of this position of the log.
    """
    part = slice_of(condition)
    if part is None or by not in COUNTED_BY:
        return None
    if by != STATUS and part.field not in ("", by):
        return None
    field = part.field if by == STATUS else by
    values = list(part.values) if part.values is not None else None
    statuses = list(part.statuses) if part.statuses is not None else None
    since, until = part.days.days()
    bound = (field, values, values, statuses, statuses, since, since, until, until, position)
    rows = await (await connection.execute(READ, bound, prepare=False)).fetchall()
    found: Counter[str] = Counter()
    for value, status, number in rows:
        if status is not None:
            found[status if by == STATUS else value] += number
    return {value: number for value, number in found.items() if number} if rows else None
