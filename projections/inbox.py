"""Reads the inbox: open steps that wait for people, and paused executions.

Open steps come from the view of analytics, executions from the view of executions. The position of a page is the lower
one of the two views.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.errors import Invalid
from domain.json_forms import format_time, parse_time
from domain.types import Priority
from projections.query.ast import EVERYTHING, Condition
from projections.query.field_types import number, text
from projections.query.pagination import decode_cursor, encode_cursor
from projections.query.sql import sql

STREAM = "execution/"
PEOPLE = "('human', 'hybrid')"
VIEWS = ("executions", "analytics")
PRIORITIES = tuple(Priority)
NAMED = ", ".join(f"'{word}'" for word in PRIORITIES)
RANK = f"array_position(ARRAY[{NAMED}], e.priority::text)"
EXECUTION = f'e.id, {RANK} AS rank, e.order_id AS "order", e.service, e.customer, e.status'
ITS_OWNER = f"CASE WHEN e.assignee_type IN {PEOPLE} THEN e.assignee_{{what}} END"
SHOWN_STEP = """s.step, s.name, s.status AS step_status, nullif(s.kind, '') AS kind,
    coalesce(s.started_at, e.created_at) AS since"""

# `OFFSET 0` and the collation of the log make PostgreSQL look up first events one by one: else it would read the whole log.
# Steps that have an assignee of their own, and steps of the kind `human`.
OWN = f"""SELECT {EXECUTION},
        CASE WHEN s.own THEN s.assignee_type ELSE {ITS_OWNER.format(what="type")} END AS who,
        CASE WHEN s.own THEN nullif(s.assignee, '') ELSE {ITS_OWNER.format(what="id")} END AS assignee,
        {SHOWN_STEP}
    FROM analytics_steps_open AS s CROSS JOIN LATERAL (
        SELECT originator_id FROM first_events WHERE notification_id = s.created OFFSET 0) AS first
    JOIN executions_open AS e ON e.id = substr(first.originator_id, {len(STREAM) + 1})
    WHERE (s.own AND s.assignee_type IN {PEOPLE}) OR s.kind = 'human'"""
# Steps that have the assignee of their execution.
FOLLOWING = f"""SELECT {EXECUTION}, e.assignee_type, e.assignee_id, {SHOWN_STEP}
    FROM executions_open AS e
    CROSS JOIN LATERAL (SELECT notification_id FROM first_events
        WHERE originator_id = ('{STREAM}' || e.id) COLLATE "default" OFFSET 0) AS first
    JOIN analytics_steps_open AS s ON s.created = first.notification_id
    WHERE e.assignee_type IN {PEOPLE} AND NOT s.own AND s.kind <> 'human'"""
PAUSED = f"""SELECT {EXECUTION}, e.assignee_type, e.assignee_id, '', NULL, NULL, NULL, e.paused_at
    FROM executions_open AS e
    WHERE e.status = 'paused' AND (e.assignee_type IN {PEOPLE} OR e.assignee_type IS NULL)"""
PAGE = f"""SELECT known.position, page.* FROM (SELECT coalesce(min(position), 0) AS position
        FROM bookmarks WHERE view IN {VIEWS}) AS known
    LEFT JOIN (SELECT * FROM ({OWN} UNION ALL {FOLLOWING} UNION ALL {PAUSED}) AS item
        WHERE {{conditions}} ORDER BY -rank, since, id, step LIMIT %b) AS page ON true
    ORDER BY -rank, since, id, step"""


class Item(NamedTuple):
    """A step that waits for a person, or if `step` is empty a paused execution, and the time since when it waits."""

    execution: str
    rank: int
    order: str
    service: str
    customer: str
    status: str
    who: str | None
    assignee: str | None
    step: str
    name: str | None
    step_status: str | None
    kind: str | None
    since: datetime

    def document(self) -> dict[str, Any]:
        """Return the item as clients see it."""
        shown: dict[str, Any] = {
            "type": "step" if self.step else "paused",
            "execution": self.execution,
            "order": self.order,
            "service": self.service,
            "customer": self.customer,
            "status": self.status,
            "priority": PRIORITIES[self.rank - 1],
            "since": format_time(self.since),
        }
        assignee = {"type": self.who, "id": self.assignee}
        if found := {name: value for name, value in assignee.items() if value is not None}:
            shown["assignee"] = found
        if self.step:
            step = {"id": self.step, "name": self.name, "status": self.step_status}
            shown["step"] = step if self.kind is None else {**step, "kind": self.kind}
        return shown


class InboxPage(NamedTuple):
    """A page of items, as of at least a position of the log."""

    items: list[Item]
    next_cursor: str | None
    position: int


async def inbox(
    connection: AsyncConnection,
    assignee: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
    scope: Condition = EVERYTHING,
) -> InboxPage:
    """Return a page of the items of an assignee, or of all people, whose executions meet `scope`: the most urgent first,
    then those that have waited longest.

    Raises:
        Invalid: the cursor is not that of a page of the inbox.
    """
    conditions, values = ["true"], list[Any]()
    if assignee is not None:
        conditions.append("assignee = %b")
        values.append(assignee)
    if scope != EVERYTHING:
        conditions.append(f"id IN (SELECT id FROM executions_open WHERE {sql(scope, values)})")
    if cursor is not None:
        conditions.append("(-rank, since, id, step) > (%b, %b, %b, %b)")
        values += _decode(cursor)
    query = PAGE.format(conditions=" AND ".join(conditions))
    found = await connection.execute(query, [*values, limit + 1], prepare=False, binary=True)
    rows = await found.fetchall()
    items = [Item(*row[1:]) for row in rows if row[1] is not None]
    following = _encode(items[limit - 1]) if len(items) > limit else None
    return InboxPage(items[:limit], following, rows[0][0])


def _encode(item: Item) -> str:
    return encode_cursor([-item.rank, item.since.isoformat(), item.execution, item.step])


def _decode(cursor: str) -> list[Any]:
    try:
        rank, since, execution, step = decode_cursor(cursor)
        parse_time(since)
        return [number(rank), datetime.fromisoformat(since), text(execution), text(step)]
    except (ValueError, TypeError) as error:
        raise Invalid.field("cursor", "must be `nextCursor` of a page of the inbox") from error
