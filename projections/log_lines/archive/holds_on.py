"""Finds the legal holds that keep an execution or an order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.catalog.order import Order
from domain.errors import Damaged
from domain.eventlog.archive.archived_queries import fetch_of_streams
from domain.execution.state import Execution
from projections.log_lines.archive.holds import NOT_APPLIED

CATALOG_PROGRESS = """SELECT coalesce((SELECT position FROM bookmarks WHERE view = 'catalog'), 0),
    (SELECT count(*) FROM parked WHERE view = 'catalog' AND type LIKE 'hold.%')"""
ON = """SELECT e.id, h.id FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[])
        AS e (id, of_order, service, customer)
    JOIN catalog AS h ON h.kind = 'hold' AND h.document @> '{"status": "active"}' AND (
        h.document -> 'executions' ? e.id OR h.document ->> 'order' = e.of_order
        OR h.document ->> 'service' = e.service OR h.document ->> 'customer' = e.customer)
    ORDER BY e.id, h.id"""
ON_ORDERS = """WITH active AS (SELECT id, document FROM catalog
        WHERE kind = 'hold' AND document @> '{"status": "active"}'),
    of_executions AS (SELECT convert_from(e.state, 'UTF8')::jsonb ->> 'order' AS id, h.id AS hold
        FROM active AS h, jsonb_array_elements_text(h.document -> 'executions') AS execution
        JOIN events AS e ON e.originator_id = 'execution/' || execution AND e.originator_version = 1)
    SELECT o.id, h.id FROM unnest(%s::text[], %s::text[], %s::text[]) AS o (id, service, customer)
        JOIN active AS h ON h.document ->> 'order' = o.id
            OR h.document ->> 'service' = o.service OR h.document ->> 'customer' = o.customer
    UNION SELECT o.id, hold FROM of_executions AS o WHERE o.id = ANY(%s)
    ORDER BY 1, 2"""
"""The holds on orders. A hold on an execution keeps its order, too, which the first event of the execution names."""
HELD = """SELECT 'execution/' || jsonb_array_elements_text(document -> 'executions') FROM catalog
    WHERE kind = 'hold' AND document @> '{"status": "active"}'"""
"""The streams of executions that holds name."""
ACTIVE = """SELECT id, document FROM catalog
    WHERE kind = 'hold' AND document @> '{"status": "active"}' ORDER BY id LIMIT 1000"""
SCOPES = ("executions", "order", "service", "customer")


class ActiveHold(NamedTuple):
    """An active hold. `of` has the member by which it selects executions, or the list of executions that it names."""

    id: str
    of: dict[str, Any]


class HoldsOn(NamedTuple):
    """The ids of the active holds by the id of the execution or order that they keep, as of a position of the log."""

    holds: dict[str, list[str]]
    position: int


async def holds_on(connection: AsyncConnection, executions: Iterable[Execution]) -> HoldsOn:
    """Return the active holds on executions, as of the position of the view of the catalog.

    Raises:
        Damaged: an event of a hold is parked, so the view may lack a hold.
    """
    rows = [(e.id, e.order, e.service, e.customer) for e in executions]
    return await _holds(connection, ON, _columns(rows, 4))


async def holds_on_orders(connection: AsyncConnection, orders: Iterable[Order]) -> HoldsOn:
    """Return the active holds on orders, as of the position of the view of the catalog.

    Raises:
        Damaged: an event of a hold is parked, so the view may lack a hold.
    """
    columns = _columns([(o.id, o.service, o.customer) for o in orders], 3)
    streams = [row[0] for row in await (await connection.execute(HELD)).fetchall()]
    return await _holds(connection, ON_ORDERS, [*columns, columns[0]], streams)


async def _holds(
    connection: AsyncConnection, query: str, values: Sequence[Any], streams: Sequence[str] = ()
) -> HoldsOn:
    # The position is read first, so that the holds are at least as new.
    [(position, parked)] = await (await connection.execute(CATALOG_PROGRESS)).fetchall()
    if parked:
        raise Damaged("What is held cannot be said.", reason=NOT_APPLIED)
    found: dict[str, list[str]] = {}
    for identity, hold in await fetch_of_streams(connection, query, values, streams):
        found.setdefault(identity, []).append(hold)
    return HoldsOn(found, int(position))


def _columns(rows: Sequence[tuple[str, ...]], width: int) -> list[list[str]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


async def active_holds(connection: AsyncConnection) -> list[ActiveHold]:
    """Return the first thousand active holds."""
    rows = await (await connection.execute(ACTIVE)).fetchall()
    return [
        ActiveHold(id_, {name: document[name] for name in SCOPES if document.get(name)})
        for id_, document in rows
    ]
