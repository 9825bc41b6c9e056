"""Makes the statement that reads a page of rows with their stored documents or states.

If the first field of the order may be missing, the rows are read in two halves: first those that have a value, along
the index of the field, then those that have none. No index has both in a single order.
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
"""Bytes of documents, content included, that a page may have. A page has at least one document of any size."""

PAGE = f"""SELECT found, {STORED}, heard_at, {{ranks}} FROM (
        SELECT r.*, count(*) OVER () AS found, sum(size.bytes) OVER (ORDER BY {{order}})
            - size.bytes AS before, heard.at AS heard_at, {BODIES}
        LEFT JOIN heartbeats AS heard ON heard.execution = r.id AND d.id IS NULL
        CROSS JOIN LATERAL (SELECT
            coalesce(octet_length(document), octet_length(s.state), 0) AS bytes) AS size) AS page
    WHERE before < {MOST_BYTES}"""
HALF = "SELECT id, version, {ranks} FROM {rows} WHERE {where} ORDER BY {order} LIMIT {limit}"
WALKED = 2_000
"""Rows along the order that a walk reads."""
WALK = f"(SELECT * FROM executions WHERE {{where}} ORDER BY {{order}} LIMIT {WALKED}) AS walked"
LOOK_UP = "(SELECT * FROM {table} WHERE {where} OFFSET 0) AS hits"
"""OFFSET 0 keeps the planner from reading along the order instead."""
HALVES = "SELECT * FROM ({halves}) AS halves ORDER BY {order} LIMIT {limit}"

APART = ("executions_open", "executions_ended")
"""Tables that are read one by one for the rows without a value of an `UNLIKE` field. In one of them all rows have a
value, in the other none: read as one table, the planner would read them in the order of ids."""

SortValues = Sequence[Any]
"""The sort values of a row: one for each key of the order."""


class Way(Enum):
    """How the rows of a page are read."""

    PLANNED = auto()
    """As PostgreSQL's planner decides."""
    WALK = auto()
    """Along the order, but only the first `WALKED` rows: the result is the page only if it is full."""
    LOOK_UP = auto()
    """By looking up all rows that meet the condition, and sorting them."""


class Half(NamedTuple):
    """One part of the rows: the SQL condition that limits it, its order, and the sort values after which it begins.

    `along` is SQL before the order that does not change the order, but makes it that of an index.
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
    """Return SQL for the first rows that meet a condition, after some sort values. The result itself is not ordered.

    The columns are the number of rows up to the limit, those of a `StoredRow`, and the sort values `rank_0`, `rank_1`
    etc. Rows beyond `MOST_BYTES` are left out. Values to bind are appended to `values`.
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
    """Return SQL for the order of a page by its columns `rank_…`."""
    return ", ".join(key.ordering(f"rank_{nth}") for nth, key in enumerate(keys))


def _half(condition: Condition, half: Half, values: list[Any], way: Way) -> dict[str, str]:
    order = half.along + ", ".join(key.clause for key in half.keys)
    if way is Way.WALK:
        rows = WALK.format(where=_limit_sql(half, values), order=order)
        return {"rows": rows, "where": sql(condition, values), "order": order}
    where = f"{sql(condition, values)} AND {_limit_sql(half, values)}"
    if way is Way.LOOK_UP:
        rows = LOOK_UP.format(table=half.table, where=where)
        return {"rows": rows, "where": "true", "order": order}
    return {"rows": half.table, "where": where, "order": order}


def _limit_sql(half: Half, values: list[Any]) -> str:
    if half.after is None:
        return half.limit
    return f"{half.limit} AND {pagination.after(half.keys, half.after, values)}"


def _halves(condition: Condition, keys: Sequence[SortKey], after: SortValues | None) -> list[Half]:
    first, *others = keys
    if not first.field.nullable:
        return [Half("true", keys, after)]
    halves = []
    if after is None or after[0] is not None:
        valued = replace(first, field=replace(first.field, nullable=False))
        halves.append(Half(f"{first.field.column} IS NOT NULL", (valued, *others), after))
    if not _requires(condition, first.field):
        after_others = after[1:] if after is not None and after[0] is None else None
        tables = APART if first.field.path in UNLIKE else ("executions",)
        lacking = f"{first.field.column} IS NULL"
        halves += [Half(lacking, others, after_others, _along(first), table) for table in tables]
    return halves or [Half("false", keys, None)]


def _along(key: SortKey) -> str:
    """Return the `along` of the half without values. PostgreSQL does not see that an index has these rows in the order
    of its further columns, unless ORDER BY names the first column, too.
    """
    if key.field.path not in SORTED_BY or key.field.path in UNLIKE:
        return ""
    return f"{key.rank} DESC, " if key.descending else f"{key.rank}, "


def _requires(condition: Condition, field: Field) -> bool:
    """Whether every row that meets the condition has a value in the field."""
    match condition:
        case And(parts):
            return any(_requires(part, field) for part in parts)
        case Or(parts):
            return all(_requires(part, field) for part in parts)
        case Compare(compared, _, operands):
            return compared.column == field.column and None not in operands
    return False


def within_bytes(listed: Iterable[Listed]) -> list[Listed]:
    """Return the first documents, at least one, that together have at most `MOST_BYTES`, content included."""
    shown: list[Listed] = []
    size = 0
    for each in listed:
        size += full_size(each.document)
        if shown and size > MOST_BYTES:
            break
        shown.append(each)
    return shown
