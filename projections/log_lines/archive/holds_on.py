"""Which legal holds keep executions as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.errors import Damaged
from domain.execution.state import Execution
from projections.log_lines.archive.holds import NOT_APPLIED

PLACE = """SELECT coalesce((SELECT position FROM bookmarks WHERE view = 'catalog'), 0),
    (SELECT count(*) FROM parked WHERE view = 'catalog' AND type LIKE 'hold.%')"""
ON = """SELECT e.id, h.id FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[])
        AS e (id, of_order, service, customer)
    JOIN catalog AS h ON h.kind = 'hold' AND h.document @> '{"status": "active"}' AND (
        h.document -> 'executions' ? e.id OR h.document ->> 'order' = e.of_order
        OR h.document ->> 'service' = e.service OR h.document ->> 'customer' = e.customer)
    ORDER BY e.id, h.id"""


ACTIVE = """SELECT id, document FROM catalog
    WHERE kind = 'hold' AND document @> '{"status": "active"}' ORDER BY id LIMIT 1000"""
SCOPES = ("executions", "order", "service", "customer")


class ActiveHold(NamedTuple):
    """A hold, and what it is of: one member, or a list of executions."""

    id: str
    of: dict[str, Any]


class HoldsOn(NamedTuple):
    """The active holds on each execution that has any, by id, as of a position of the log."""

    holds: dict[str, list[str]]
    position: int


async def holds_on(connection: AsyncConnection, executions: Iterable[Execution]) -> HoldsOn:
    """Which active holds keep executions, as far as the view of the catalog goes.

    Raises:
        Damaged: that view has not applied every hold.
    """
    columns = zip(*((e.id, e.order, e.service, e.customer) for e in executions), strict=True)
    # The place first: what is seen is at least as new.
    [(position, parked)] = await (await connection.execute(PLACE)).fetchall()
    if parked:
        raise Damaged("What is held cannot be said.", reason=NOT_APPLIED)
    found: dict[str, list[str]] = {}
    cursor = await connection.execute(ON, [list(column) for column in columns] or [[], [], [], []])
    for execution, hold in await cursor.fetchall():
        found.setdefault(execution, []).append(hold)
    return HoldsOn(found, int(position))


async def active_holds(connection: AsyncConnection) -> list[ActiveHold]:
    """The first thousand holds that keep something."""
    rows = await (await connection.execute(ACTIVE)).fetchall()
    return [
        ActiveHold(id_, {name: document[name] for name in SCOPES if document.get(name)})
        for id_, document in rows
    ]
