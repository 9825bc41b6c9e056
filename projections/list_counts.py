"""Lists a page of executions with its total number and facets, which are read from stored totals where these suffice.

The totals of fields that never change are kept by the view of executions. Those of statuses are kept by analytics, which
follows the log separately: they are used only if both views have the same position.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from domain.eventlog.sessions import ONE_MOMENT
from projections.analytics import totals
from projections.executions import facets
from projections.executions.facets import Facet
from projections.executions.indexes import SELDOM_SET
from projections.executions.projection import ExecutionPage, Executions
from projections.executions.tables import BOOKMARK
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
    """Return the page that `Executions.find` returns for these options, and the facets of `fields`, if any."""
    page = await executions.find(connection, now, condition, **options)
    if count:
        page = page._replace(total=await total(executions, connection, condition, page.position))
    if not fields:
        return page, None
    return page, await facets_of(connection, fields, condition, page.position)


async def total(
    executions: Executions, connection: AsyncConnection, condition: Condition, position: int
) -> int:
    """Return the number of executions that meet a condition; `position` is that of the list shown with it."""
    kept = await _count_by_totals(connection, condition, position)
    if kept is not None:
        return sum(kept.values())
    return await executions.count(connection, condition)


async def facets_of(
    connection: AsyncConnection, fields: Mapping[str, Field], condition: Condition, position: int
) -> dict[str, Facet]:
    """Return the facet of each field over the executions that meet a condition."""
    found: dict[str, Facet] = {}
    for name, field in fields.items():
        kept = await _count_by_totals(connection, condition, position, field)
        if kept is not None:
            found[name] = facets.of_counts(kept)
    others = {name: field for name, field in fields.items() if name not in found}
    if others:
        found |= await _count_others(connection, others, condition)
    return {name: found[name] for name in fields}


async def _count_others(
    connection: AsyncConnection, fields: Mapping[str, Field], condition: Condition
) -> dict[str, Facet]:
    """Return the facets of which no totals are stored, all as of one moment."""
    async with connection.transaction():
        await connection.execute(ONE_MOMENT)
        kept = None
        if any(field.path in SELDOM_SET for field in fields.values()):
            [(position,)] = await (await connection.execute(BOOKMARK)).fetchall()
            kept = await _count_by_totals(connection, condition, position)
        total = None if kept is None else sum(kept.values())
        return await facets.count_values(connection, fields, condition, total)


async def _count_by_totals(
    connection: AsyncConnection, condition: Condition, position: int, field: Field | None = None
) -> dict[str, int] | None:
    """Return the number of executions for each value of a field, or for each of any values that add up to the total; None
    if no stored totals fit the condition.
    """
    kept = await count_by_totals(connection, condition, field.column if field else None)
    if kept is None:
        path = field.path if field else totals.STATUS
        kept = await totals.counts(connection, condition, path, position)
    return kept
