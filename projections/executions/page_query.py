"""The statement that reads a page of rows with what is shown of them.

Where the first field of an order may be missing, the rows are read in two halves: those that have a
value, along the index of the field, and behind them those that have none. One order by both would be
that of no index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Any, NamedTuple

from projections.executions.indexes import SORTED_BY, UNLIKE
from projections.executions.references import Listed, full_size
from projections.executions.tables import BODIES, STORED
from projections.query import pagination
from projections.query.ast import And, Compare, Condition, Field, Or
from projections.query.pagination import SortKey
from projections.query.sql import sql

MOST_BYTES = 8 * 1024 * 1024
"""A page ends before the document that makes it larger, and has one at least."""

PAGE = f"""SELECT found, {STORED}, {{ranks}} FROM (
        SELECT r.*, count(*) OVER () AS found, sum(size.bytes) OVER (ORDER BY {{order}})
            - size.bytes AS before, {BODIES}
        CROSS JOIN LATERAL (SELECT
            coalesce(octet_length(document), octet_length(s.state), 0) AS bytes) AS size) AS page
    WHERE before < {MOST_BYTES}"""
HALF = "SELECT id, version, {ranks} FROM {rows} WHERE {where} ORDER BY {order} LIMIT {limit}"
WALKED = 2_000
WALK = f"(SELECT * FROM executions WHERE {{where}} ORDER BY {{order}} LIMIT {WALKED}) AS walked"
LOOK_UP = "(SELECT * FROM {table} WHERE {where} OFFSET 0) AS hits"
"""The planner does not look beyond the OFFSET: it does not read along the order."""
HALVES = "SELECT * FROM ({halves}) AS halves ORDER BY {order} LIMIT {limit}"

APART = ("executions_open", "executions_ended")
"""Where one of these has all its values, and the other has none, together they would be read along the ids."""

SortValues = Sequence[Any]
"""The values of a row by which it is ordered."""


class Way(Enum):
    """How a page is read: as the planner sees fit; along the order, but its first `WALKED` rows alone, so that it is the
    page only if it is full; or by looking up all that meets the condition.
    """

    PLANNED = auto()
    WALK = auto()
    LOOK_UP = auto()


class Half(NamedTuple):
    """Some of the rows: what limits them, by what they are ordered, and behind which sort values they begin.

    `along` is put before the order, which it does not change, where it makes it the one of an index.
    """

    limit: str
    keys: Sequence[SortKey]
    after: SortValues | None
    along: str = ""
    table: str = "executions"


def page_query(
    condition: Condition,
    keys: Sequence[SortKey],
    after: SortValues | None,
    limit: int,
    values: list[Any],
    *,
    way: Way = Way.PLANNED,
) -> str:
    """The first rows that meet a condition, behind some sort values; not in their order.

    Its columns: how many rows there are up to the limit, `STORED`, the ranks. Rows
    beyond `MOST_BYTES` are left out.
    """
    order = order_of(keys)
    ranks = ", ".join(f"{key.rank} AS rank_{nth}" for nth, key in enumerate(keys))
    parts = _halves(condition, keys, after)
    halves = [
        HALF.format(ranks=ranks, limit=limit, **_half(condition, half, values, way))
        for half in (parts[:1] if way is Way.WALK else parts)
    ]
    rows = halves[0]
    if len(halves) > 1:
        both = " UNION ALL ".join(f"({half})" for half in halves)
        rows = HALVES.format(halves=both, order=order, limit=limit)
    ranks = ", ".join(f"rank_{nth}" for nth in range(len(keys)))
    return PAGE.format(ranks=ranks, order=order, rows=f"({rows})")


def order_of(keys: Sequence[SortKey]) -> str:
    """The order of a page, by its ranks."""
    return ", ".join(key.ordering(f"rank_{nth}") for nth, key in enumerate(keys))


def _half(condition: Condition, half: Half, values: list[Any], way: Way) -> dict[str, str]:
    order = half.along + ", ".join(key.clause for key in half.keys)
    if way is Way.WALK:
        rows = WALK.format(where=_behind(half, values), order=order)
        return {"rows": rows, "where": sql(condition, values), "order": order}
    where = f"{sql(condition, values)} AND {_behind(half, values)}"
    if way is Way.LOOK_UP:
        rows = LOOK_UP.format(table=half.table, where=where)
        return {"rows": rows, "where": "true", "order": order}
    return {"rows": half.table, "where": where, "order": order}


def _behind(half: Half, values: list[Any]) -> str:
    if half.after is None:
        return half.limit
    return f"{half.limit} AND {pagination.after(half.keys, half.after, values)}"


def _halves(condition: Condition, keys: Sequence[SortKey], after: SortValues | None) -> list[Half]:
    first, *rest = keys
    if not first.field.nullable:
        return [Half("true", keys, after)]
    halves = []
    if after is None or after[0] is not None:
        valued = replace(first, field=replace(first.field, nullable=False))
        halves.append(Half(f"{first.field.column} IS NOT NULL", (valued, *rest), after))
    if not _requires(condition, first.field):
        behind = after[1:] if after is not None and after[0] is None else None
        tables = APART if first.field.path in UNLIKE else ("executions",)
        lacking = f"{first.field.column} IS NULL"
        halves += [Half(lacking, rest, behind, _along(first), table) for table in tables]
    return halves or [Half("false", keys, None)]


def _along(key: SortKey) -> str:
    """PostgreSQL does not see that rows without a value are in the order of what follows in an index."""
    if key.field.path not in SORTED_BY or key.field.path in UNLIKE:
        return ""
    return f"{key.rank} DESC, " if key.descending else f"{key.rank}, "


def _requires(condition: Condition, field: Field) -> bool:
    """Whether what meets the condition has a value there."""
    match condition:
        case And(parts):
            return any(_requires(part, field) for part in parts)
        case Or(parts):
            return all(_requires(part, field) for part in parts)
        case Compare(compared, _, operands):
            return compared.column == field.column and None not in operands
    return False


def within_bytes(listed: Iterable[Listed]) -> list[Listed]:
    """The first documents that have at most `MOST_BYTES` together, content included; one at least."""
    shown: list[Listed] = []
    size = 0
    for one in listed:
        size += full_size(one.document)
        if shown and size > MOST_BYTES:
            break
        shown.append(one)
    return shown
