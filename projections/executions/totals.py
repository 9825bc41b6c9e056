"""Stores the number of executions of each service, customer, provider and day, so that a count adds up a few totals
instead of reading rows.

None of these fields ever changes, so an execution changes the totals only once, when it is created. Totals by status are
those of analytics (`projections/analytics/totals.py`); `projections/list_counts.py` chooses.
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
    """A kind of totals: one for each combination of values of these columns, and if `dated` of each day, too."""

    columns: frozenset[str]
    dated: bool


BY_SERVICE, BY_CUSTOMER, BY_DAY = "service", "customer", "day"
KINDS = {
    BY_SERVICE: TotalKind(frozenset({"service", "provider"}), dated=False),
    BY_CUSTOMER: TotalKind(frozenset({"service", "provider", "customer"}), dated=False),
    BY_DAY: TotalKind(frozenset({"service", "provider"}), dated=True),
}
"""The kinds, from few totals to many. None counts customers by day: a customer with one execution a day would have a
total for each execution, and an index has the rows of a customer in the order of creation anyway."""

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
    """Add new executions to the totals, as the last statement of the caller's transaction: other processes wait for the
    locks of the totals until the transaction ends.
    """
    totals: Counter[tuple[str, str, str, str, str]] = Counter()
    for execution in created:
        parties = execution.service, execution.provider
        totals[BY_SERVICE, NONE, NONE, *parties] += 1
        totals[BY_CUSTOMER, execution.customer, NONE, *parties] += 1
        totals[BY_DAY, NONE, execution.created_at.date().isoformat(), *parties] += 1
    if totals:  # in the order of their keys, which prevents deadlocks
        rows = [(*key, number) for key, number in sorted(totals.items())]
        await connection.execute(ADD, columns(ARRAYS, rows), prepare=True)


async def count_by_totals(
    connection: AsyncConnection, condition: Condition, by: str | None = None
) -> dict[str, int] | None:
    """Return the number of executions that meet a condition, for each value of the column `by`; without `by`, for the
    single value ''.

    On days of which the condition covers only a part, rows are counted. None if no kind of totals fits the condition.
    """
    values: list[Any] = []
    try:
        query = _query(Limited.by(condition, CREATED), by, values)
    except OverflowError:  # 9999-12-31, the last day of `datetime`, has no end
        return None
    if query is None:
        return None
    # Not prepared: the best plan depends on how common the values are.
    rows = await (await connection.execute(query, values, prepare=False)).fetchall()
    return {value: number for value, number in rows if number}


def _query(limited: Limited, by: str | None, values: list[Any]) -> str | None:
    needed = limited.columns | ({by} if by else set())
    dated, days = limited.span != Span(), limited.span.whole_days()
    kinds = (name for name, kind in KINDS.items() if kind.dated is dated and needed <= kind.columns)
    kind = next(kinds, None)
    if kind is None or days is None:
        return None
    shown = by or "''"
    where = f"{sql(limited.condition, values)} AND {between('day', days.days(), values)}"
    parts = [WHOLE.format(by=shown, kind=kind, where=where)]
    for edge in limited.span.edges(days):
        where = f"{sql(limited.condition, values)} AND {between(CREATED, edge, values)}"
        parts.append(ROWS.format(by=shown, where=where))
    return SUM.format(parts=" UNION ALL ".join(parts))
