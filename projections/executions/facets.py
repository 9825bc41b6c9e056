"""Counts the executions of a list by the values of fields (facets)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from psycopg import AsyncConnection

from domain.errors import Invalid, but_is
from projections.executions.columns import field
from projections.executions.indexes import SELDOM_SET, index_has
from projections.query.ast import Condition, Field
from projections.query.field_types import ATTRIBUTE, BOOLEAN, TAGS, TEXT
from projections.query.spans import columns_of
from projections.query.sql import attribute, sql

MOST_FACETS = 10
MOST_VALUES = 50
LONGEST_VALUE = 1_000
"""Bytes of JSON that a value of a free attribute may have; longer values, which may be huge, count as missing."""

COLUMNS = """SELECT grouping({columns}) AS mask, coalesce({texts}) AS value, count(*) AS n
    FROM executions WHERE {where} GROUP BY GROUPING SETS ({sets})"""
SELDOM = """WITH known AS MATERIALIZED (SELECT 0 AS mask, {column}::text AS value, count(*) AS n
        FROM executions WHERE {where} AND {column} IS NOT NULL GROUP BY {column})
    SELECT * FROM known UNION ALL SELECT 0, NULL, missing FROM (
        SELECT %s - coalesce(sum(n), 0) AS missing FROM known) AS others WHERE missing > 0"""
"""Reads only the executions that have the field; how many lack it follows from the number of all."""
TAGGED = """SELECT 0 AS mask, tag AS value, count(*) AS n FROM executions CROSS JOIN LATERAL
    unnest(CASE WHEN tags = '{{}}' THEN ARRAY[NULL::text] ELSE tags END) AS tag
    WHERE {where} GROUP BY tag"""
ATTRIBUTED = """SELECT 0 AS mask, known.value::text AS value, count(*) AS n
    FROM executions CROSS JOIN LATERAL (SELECT {value} AS value) AS found
    CROSS JOIN LATERAL (SELECT CASE WHEN jsonb_typeof(found.value) IN ('string', 'number', 'boolean')
        AND octet_length(found.value::text) <= {longest} THEN found.value END AS value) AS known
    WHERE {where} GROUP BY known.value"""
MOST_FREQUENT = """SELECT mask, value, n::bigint, kinds::bigint, total::bigint FROM (
        SELECT mask, value, n, row_number() OVER (
                PARTITION BY mask ORDER BY n DESC, value COLLATE "C" NULLS LAST) AS nth,
            count(*) OVER (PARTITION BY mask) AS kinds, sum(n) OVER (PARTITION BY mask) AS total
        FROM ({counted}) AS counted) AS ranked
    WHERE nth <= {most} ORDER BY mask, nth"""

Facet = dict[str, Any]
"""`values` are the most frequent values, each `{value, count}`. `rest`, if there are more values, has the number of the
other `values` and the `count` of their executions."""


def parse_fields(names: Sequence[str]) -> dict[str, Field]:
    """Return the fields with these names.

    Raises:
        Invalid: there is no such field, a field is named twice, or a field may have too many values to be counted.
    """
    found: dict[str, Field] = {}
    for name in names:
        known = field(name)
        if known is None or not _countable(known):
            raise Invalid.field(
                "facets", f"must be fields of text, of true or false, or tags{but_is(name)}"
            )
        if known in found.values():
            raise Invalid.field("facets", f"must name each field once, but `{name}` comes twice")
        found[name] = known
    if len(found) > MOST_FACETS:
        raise Invalid.field("facets", f"must be at most {MOST_FACETS} fields, but are {len(found)}")
    return found


def _countable(known: Field) -> bool:
    return known.kind in {TEXT, BOOLEAN, TAGS, ATTRIBUTE} or bool(known.kind.words)


async def count_values(
    connection: AsyncConnection,
    fields: Mapping[str, Field],
    condition: Condition,
    total: int | None = None,
) -> dict[str, Facet]:
    """Return the facet of each field over the rows that meet the condition. With their `total` number, a field that few
    executions have is counted by those alone.
    """
    facets: dict[str, Facet] = {}
    for names in _statements(fields, condition, total):
        group, values = [fields[name] for name in names], list[Any]()
        counted = _count_sql(group, condition, total, values)
        query = MOST_FREQUENT.format(counted=counted, most=MOST_VALUES)
        # Not prepared: the best plan depends on how common a value is.
        cursor = await connection.execute(query, values, prepare=False, binary=True)
        rows = await cursor.fetchall()
        for index, name in enumerate(names):
            mask = (1 << len(names)) - 1 & ~(1 << (len(names) - 1 - index))
            facets[name] = _facet(fields[name], [row[1:] for row in rows if row[0] == mask])
    return {name: facets[name] for name in fields}


def _statements(
    fields: Mapping[str, Field], condition: Condition, total: int | None
) -> list[list[str]]:
    """Divide the names of fields into those that one statement counts together: by itself a field of which an index is
    enough, or that has many values in a row, and all others in one read of the rows.
    """
    compared = columns_of(condition)
    alone = [
        name
        for name, known in fields.items()
        if known.kind in {TAGS, ATTRIBUTE}
        or (known.path in SELDOM_SET and total is not None)
        or index_has(known.path, compared)
    ]
    together = [name for name in fields if name not in alone]
    return [*([together] if together else []), *([name] for name in alone)]


def of_counts(counts: Mapping[str, int]) -> Facet:
    """Return the facet of a text field from the number of rows of each value."""
    ordered = sorted(counts.items(), key=lambda count: (-count[1], count[0]))
    shown, others = ordered[:MOST_VALUES], ordered[MOST_VALUES:]
    facet: Facet = {"values": [{"value": value, "count": number} for value, number in shown]}
    if others:
        facet["rest"] = {"values": len(others), "count": sum(number for _, number in others)}
    return facet


def _count_sql(
    fields: Sequence[Field], condition: Condition, total: int | None, values: list[Any]
) -> str:
    if fields[0].path in SELDOM_SET and total is not None:
        where = sql(condition, values)
        values.append(total)
        return SELDOM.format(column=fields[0].column, where=where)
    if fields[0].kind is TAGS:
        return TAGGED.format(where=sql(condition, values))
    if fields[0].kind is ATTRIBUTE:
        value = attribute(fields[0], values)
        where = sql(condition, values)
        return ATTRIBUTED.format(value=value, where=where, longest=LONGEST_VALUE)
    columns = [known.column for known in fields]
    return COLUMNS.format(
        columns=", ".join(columns),
        texts=", ".join(f"{column}::text" for column in columns),
        where=sql(condition, values),
        sets=", ".join(f"({column})" for column in columns),
    )


def _facet(known: Field, rows: Sequence[tuple[str | None, int, int, int]]) -> Facet:
    facet: Facet = {
        "values": [{"value": _plain_value(known, value), "count": n} for value, n, _, _ in rows]
    }
    if rows and rows[0][2] > len(rows):
        shown = sum(n for _, n, _, _ in rows)
        facet["rest"] = {"values": rows[0][2] - len(rows), "count": rows[0][3] - shown}
    return facet


def _plain_value(known: Field, value: str | None) -> Any:
    if value is None:
        return None
    if known.kind is ATTRIBUTE:
        return orjson.loads(value)
    return value == "true" if known.kind is BOOLEAN else value
