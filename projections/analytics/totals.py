"""How many executions lists are of, by the totals that are stored anyway: a few rows, however many there are."""

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
"""No row where they go to another position; one without a status where they are there, and none is meant."""


class Slice(NamedTuple):
    """Executions of some values of one field, or of some days, and of some statuses; None for all of them."""

    field: str = ""
    values: tuple[str, ...] | None = None
    statuses: tuple[str, ...] | None = None
    days: Span = Span()


def slice_of(condition: Condition) -> Slice | None:
    """The slice that a condition means; None where it means another part of the executions."""
    try:
        limited = Limited.by(condition, CREATED)
        if limited.span != limited.span.whole_days():
            return None
    except OverflowError:  # the last day that there is has no end
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
    """How many executions meet a condition for each value of a field of `COUNTED_BY`.

    None where no totals are stored of that, or where they are not those of this position of the log.
    """
    meant = slice_of(condition)
    if meant is None or by not in COUNTED_BY:
        return None
    if by != STATUS and meant.field not in ("", by):
        return None
    field = meant.field if by == STATUS else by
    values = list(meant.values) if meant.values is not None else None
    statuses = list(meant.statuses) if meant.statuses is not None else None
    since, until = meant.days.days()
    asked = (field, values, values, statuses, statuses, since, since, until, until, position)
    rows = await (await connection.execute(READ, asked, prepare=False)).fetchall()
    found: Counter[str] = Counter()
    for value, status, number in rows:
        if status is not None:
            found[status if by == STATUS else value] += number
    return {value: number for value, number in found.items() if number} if rows else None
