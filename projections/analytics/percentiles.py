"""Computes exact percentiles of durations: by rank along an index if there is one, else by sorting."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from psycopg import AsyncConnection

from projections.analytics.analytics_query import (
    COLUMNS,
    RANKED,
    AnalyticsQuery,
    By,
    Group,
    columns,
    only_failed,
    source,
)

SHARES = (0.5, 0.95, 0.99, 1.0)
OCTAVES = """SELECT value, array_agg(octave ORDER BY octave), array_agg(ended ORDER BY octave)
    FROM analytics_spread WHERE slice = %b AND (%b::text IS NULL OR value = %b) AND ended > 0
    GROUP BY value"""
BY_RANK = """SELECT (SELECT array_agg(duration) FROM (
        SELECT duration FROM analytics_facts_ended WHERE {where} AND duration >= wanted.least
        ORDER BY duration OFFSET wanted.rank LIMIT 2) AS two)
    FROM unnest(%b::text[], %b::bigint[], %b::bigint[]) WITH ORDINALITY
        AS wanted (value, least, rank, nth) ORDER BY wanted.nth"""
BY_SORTING = """SELECT {one}, {other},
    percentile_cont(%s::float8[]) WITHIN GROUP (ORDER BY duration)
    FROM {table} WHERE {where} AND duration IS NOT NULL GROUP BY 1, 2"""


async def percentiles(
    connection: AsyncConnection, question: AnalyticsQuery, keys: Sequence[By]
) -> dict[Group, list[float]]:
    """Return the durations at `SHARES` for each group, or without keys for all rows together, in milliseconds."""
    limits = [*question.conditions, *((key, None) for key in keys)]
    ranked = not (question.timed or question.steps or len(limits) > 1)
    if not ranked or not {name for name, _ in limits} <= RANKED:
        return await _by_sorting(connection, question, keys)
    name, value = limits[0] if limits else ("", None)
    column = COLUMNS.get(name, "")
    cursor = await connection.execute(OCTAVES, (column, value, value), binary=True)
    ranks_of_shares = [
        (key, fraction, least, rank)
        for key, octaves, counts in await cursor.fetchall()
        for least, rank, fraction in _ranks(octaves, counts)
    ]
    if not ranks_of_shares:
        return {}
    values, fractions, *ranks = ([*column] for column in zip(*ranks_of_shares, strict=True))
    query = BY_RANK.format(where=f"{column} = wanted.value" if column else "true")
    cursor = await connection.execute(query, (values, *ranks), binary=True)
    spread: dict[Group, list[float]] = {}
    for key, fraction, (two,) in zip(values, fractions, await cursor.fetchall(), strict=True):
        spread.setdefault((key,) if keys else (), []).append(_between(two, fraction))
    return spread


async def _by_sorting(
    connection: AsyncConnection, question: AnalyticsQuery, keys: Sequence[By]
) -> dict[Group, list[float]]:
    values: list[Any] = [list(SHARES)]
    table, condition = source(question, values)
    condition += only_failed(keys)
    one, other = columns(question, keys)
    query = BY_SORTING.format(one=one, other=other, where=condition, table=table)
    cursor = await connection.execute(query, values, prepare=False, binary=True)
    return {row[: len(keys)]: row[2] for row in await cursor.fetchall()}


def _ranks(octaves: Sequence[int], counts: Sequence[int]) -> Iterator[tuple[int, int, float]]:
    """Yield for each share the smallest duration of its octave, the rank in the octave, and the fraction of the way to the
    next rank.
    """
    before = [0, *accumulate(counts)]
    for share in SHARES:
        rank = share * (before[-1] - 1)
        nth = bisect_right(before, math.floor(rank)) - 1
        yield (1 << octaves[nth]) >> 2, math.floor(rank) - before[nth], rank - math.floor(rank)


def _between(two: Sequence[int], fraction: float) -> float:
    return two[0] + fraction * (two[1] - two[0]) if fraction else two[0]
