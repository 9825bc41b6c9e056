"""A page of executions with its total and facets: from totals that are stored, where those suffice.

What never changes of executions is counted beside their rows. Statuses are counted by analytics, which follows the log on its
own: its totals count where both go equally far.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from projections.analytics import totals
from projections.executions import facets
from projections.executions.facets import Facet
from projections.executions.projection import ExecutionPage, Executions
from projections.executions.totals import count_by_totals
from projections.query.ast import Condition, Field


async def find_and_count(
    executions: Executions,
    connection: AsyncConnection,
    now: datetime,
    condition: Condition,
    fields: Mapping[str, Field],
    *,
    count: bool,
    **options: Any,
) -> tuple[ExecutionPage, dict[str, Facet] | None]:
    """What `Executions.find` answers with these options, and the facets of the fields, if any."""
    page = await executions.find(connection, now, condition, **options)
    if count:
        page = page._replace(total=await total(executions, connection, condition, page.position))
    if not fields:
        return page, None
    return page, await facets_of(connection, fields, condition, page.position)


async def total(
    executions: Executions, connection: AsyncConnection, condition: Condition, position: int
) -> int:
    """How many executions meet a condition; `position` is how far the list beside it goes."""
    kept = await _count_by_totals(connection, condition, position)
    if kept is not None:
        return sum(kept.values())
    return await executions.count(connection, condition)


async def facets_of(
    connection: AsyncConnection, fields: Mapping[str, Field], condition: Condition, position: int
) -> dict[str, Facet]:
    """How many executions that meet a condition have each value of some fields."""
    found: dict[str, Facet] = {}
    for name, field in fields.items():
        kept = await _count_by_totals(connection, condition, position, field)
        if kept is not None:
            found[name] = facets.of_counts(kept)
    others = {name: field for name, field in fields.items() if name not in found}
    found |= await facets.count_values(connection, others, condition)
    return {name: found[name] for name in fields}


async def _count_by_totals(
    connection: AsyncConnection, condition: Condition, position: int, field: Field | None = None
) -> dict[str, int] | None:
    """How many have each value of a field, or any one, by totals that are stored, where some are."""
    kept = await count_by_totals(connection, condition, field.column if field else None)
    if kept is None:
        path = field.path if field else totals.STATUS
        kept = await totals.counts(connection, condition, path, position)
    return kept
