"""How many executions there are of each service, customer, provider and day: totals that are stored, so that a count reads
a few of them, and no rows.

None of these ever changes, so an execution moves the totals once, when it is created.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.connection.pg_arrays import columns, placeholders
from domain.execution.state import Execution
from projections.query.ast import Condition
from projections.query.spans import Limited, Span, between
from projections.query.sql import sql

SCHEMA = """
CREATE TABLE IF NOT EXISTS execution_totals (
    kind       text COLLATE "C" NOT NULL,  -- one of `KINDS`; what it does not tell apart is ''
    customer   text COLLATE "C" NOT NULL,
    day        text COLLATE "C" NOT NULL,  -- of the creation, in UTC
    service    text COLLATE "C" NOT NULL,
    provider   text COLLATE "C" NOT NULL,
    executions bigint           NOT NULL,
    PRIMARY KEY (kind, customer, day, service, provider)
) WITH (fillfactor = 80);
"""


class TotalKind(NamedTuple):
    """Which columns some totals tell apart, and whether they do so with days."""

    columns: frozenset[str]
    dated: bool


BY_SERVICE, BY_CUSTOMER, BY_DAY = "service", "customer", "day"
KINDS = {
    BY_SERVICE: TotalKind(frozenset({"service", "provider"}), dated=False),
    BY_CUSTOMER: TotalKind(frozenset({"service", "provider", "customer"}), dated=False),
    BY_DAY: TotalKind(frozenset({"service", "provider"}), dated=True),
}
"""From few totals to many. None of customers and days together: there would be one for nearly each execution of
those that have one a day, and an index has the rows of a customer in the order of their creation."""

NONE = ""
ARRAYS = ("text", "text", "text", "text", "text", "bigint")
ADD = f"""INSERT INTO execution_totals AS t SELECT * FROM unnest({placeholders(ARRAYS)})
    ON CONFLICT (kind, customer, day, service, provider)
    DO UPDATE SET executions = t.executions + excluded.executions"""

CREATED = "created_at"
WHOLE = """SELECT {by} AS value, executions AS n FROM execution_totals
    WHERE kind = '{kind}' AND {where}"""
ROWS = "SELECT {by} AS value, 1 AS n FROM executions WHERE {where}"
SUM = "SELECT value, sum(n)::bigint FROM ({parts}) AS counted GROUP BY value"


async def add_created(connection: AsyncConnection, created: Iterable[Execution]) -> None:
    """Count executions that were not there before, in the caller's transaction: last, as others wait for its end."""
    cells: Counter[tuple[str, str, str, str, str]] = Counter()
    for one in created:
        parties = one.service, one.provider
        cells[BY_SERVICE, NONE, NONE, *parties] += 1
        cells[BY_CUSTOMER, one.customer, NONE, *parties] += 1
        cells[BY_DAY, NONE, one.created_at.date().isoformat(), *parties] += 1
    if cells:  # in the order of their keys: nobody waits in a circle
        rows = [(*cell, number) for cell, number in sorted(cells.items())]
        await connection.execute(ADD, columns(ARRAYS, rows), prepare=True)


async def count_by_totals(
    connection: AsyncConnection, condition: Condition, by: str | None = None
) -> dict[str, int] | None:
    """How many executions meet a condition, for each value of the column `by`, or as the one value ''.

    Of days that a condition cuts, rows are counted. None where no totals are stored of what it means.
    """
    values: list[Any] = []
    try:
        query = _query(Limited.by(condition, CREATED), by, values)
    except OverflowError:  # the last day that there is has no end
        return None
    if query is None:
        return None
    # Never prepared: the plan depends on how common the values are.
    rows = await (await connection.execute(query, values, prepare=False)).fetchall()
    return {value: number for value, number in rows if number}


def _query(meant: Limited, by: str | None, values: list[Any]) -> str | None:
    told_apart = meant.columns | ({by} if by else set())
    dated, days = meant.span != Span(), meant.span.whole_days()
    kinds = (
        name for name, kind in KINDS.items() if kind.dated is dated and told_apart <= kind.columns
    )
    kind = next(kinds, None)
    if kind is None or days is None:
        return None
    shown = by or "''"
    where = f"{sql(meant.condition, values)} AND {between('day', days.days(), values)}"
    parts = [WHOLE.format(by=shown, kind=kind, where=where)]
    for edge in meant.span.edges(days):
        where = f"{sql(meant.condition, values)} AND {between(CREATED, edge, values)}"
        parts.append(ROWS.format(by=shown, where=where))
    return SUM.format(parts=" UNION ALL ".join(parts))
