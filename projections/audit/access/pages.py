"""Reads pages of the access log and of the trail: the events that changed the status of executions, merged with the reads
of them in the order of time.

Events are ordered by position, entries of the access log by id. A cursor of the trail has a position in each. If an event and
an entry have the same time, the event comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.errors import Invalid
from domain.eventlog.access.entry import Access, AccessEntry
from domain.eventlog.archive.archived_queries import fetch_of_streams
from domain.execution.webhook_events import CHANGES_STATUS
from projections.audit.access.past_events import BEYOND, fetch_of_log

STATUS_CHANGES = tuple(type_ for type_, changes in CHANGES_STATUS.items() if changes)
"""The event types of the trail, unless an `action` selects others."""
COLUMNS = (
    "id, at, hash, actor, credential, operation, executions, address, purpose, correlation, detail"
)
OF_ONE = "cardinality(executions) = 1 AND executions[1] = %(execution)s"
OF_MANY = "cardinality(executions) > 1 AND executions @> ARRAY[%(execution)s]"
EVENT_COLUMNS = "notification_id, originator_version, at, originator_id, topic, meta"


class AccessRange(NamedTuple):
    """A filter: an execution, an actor, actions, and times in [since, until); None or empty for all."""

    execution: str | None = None
    actor: str | None = None
    actions: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None


class AccessCursor(NamedTuple):
    """A cursor: after the event at a position, and after an entry of the access log."""

    event: int
    entry: int

    @property
    def text(self) -> str:
        """The cursor as clients see it."""
        return f"{self.event}-{self.entry}"

    @classmethod
    def read(cls, text: str | None, *, descending: bool) -> AccessCursor:
        """Return the cursor of a text; without a text, the cursor of the first page.

        Raises:
            Invalid: the text is no cursor.
        """
        if text is None:
            return cls(BEYOND, BEYOND) if descending else cls(0, 0)
        parts = text.split("-")
        if len(parts) != 2 or not all(p.isascii() and p.isdigit() and len(p) < 20 for p in parts):
            raise Invalid.field("cursor", "must be `nextCursor` of a page of these")
        return cls(int(parts[0]), int(parts[1]))


class StatusChange(NamedTuple):
    """An event as the trail shows it, without its content."""

    position: int
    version: int
    at: datetime
    stream: str
    type: str
    meta: dict[str, Any]


Item = StatusChange | AccessEntry


class AccessPage(NamedTuple):
    """A page of items, and the cursor of the next page, if any."""

    items: Sequence[Item]
    next_cursor: str | None


async def access_page(
    connection: AsyncConnection,
    asked: AccessRange,
    cursor: AccessCursor,
    limit: int,
    *,
    descending: bool,
) -> AccessPage:
    """Return a page of the access log."""
    found = await _entries(connection, asked, cursor.entry, limit + 1, descending=descending)
    more = len(found) > limit
    return AccessPage(found[:limit], AccessCursor(0, found[limit - 1].id).text if more else None)


async def trail_page(
    connection: AsyncConnection,
    asked: AccessRange,
    cursor: AccessCursor,
    limit: int,
    *,
    descending: bool,
) -> AccessPage:
    """Return a page of the trail."""
    events = await _events(connection, asked, cursor.event, limit + 1, descending=descending)
    entries = await _entries(connection, asked, cursor.entry, limit + 1, descending=descending)
    found: list[Item] = [*events, *entries]
    found.sort(key=_moment, reverse=descending)
    for item in (shown := found[:limit]):
        if isinstance(item, AccessEntry):
            cursor = cursor._replace(entry=item.id)
        else:
            cursor = cursor._replace(event=item.position)
    return AccessPage(shown, cursor.text if len(found) > limit else None)


def _moment(item: Item) -> tuple[datetime, bool]:
    return item.at, isinstance(item, AccessEntry)


async def _entries(
    connection: AsyncConnection, asked: AccessRange, behind: int, limit: int, *, descending: bool
) -> list[AccessEntry]:
    operations = [action for action in asked.actions if "." not in action]
    if asked.actions and not operations:
        return []
    order = "DESC" if descending else "ASC"
    conditions = _conditions(asked, "id", descending=descending)
    if asked.actor is not None:
        conditions.append("actor = %(actor)s")
    if operations:
        conditions.append("operation = ANY(%(operations)s)")
    shapes = (OF_ONE, OF_MANY) if asked.execution is not None else ("true",)
    query = " UNION ALL ".join(
        f"(SELECT {COLUMNS} FROM access_log WHERE {' AND '.join((shape, *conditions))}"
        f" ORDER BY id {order} LIMIT %(limit)s)"
        for shape in shapes
    )
    values = {**asked._asdict(), "behind": behind, "limit": limit, "operations": operations}
    cursor = await connection.execute(
        f"SELECT * FROM ({query}) AS found ORDER BY id {order} LIMIT %(limit)s".encode(),
        values,
        prepare=False,
    )
    return [
        AccessEntry(
            row[0], row[1], Access._make((*row[3:6], tuple(row[6]), *row[7:])), bytes(row[2])
        )
        for row in await cursor.fetchall()
    ]


async def _events(
    connection: AsyncConnection, asked: AccessRange, behind: int, limit: int, *, descending: bool
) -> list[StatusChange]:
    types = [action for action in asked.actions if "." in action]
    if asked.actions and not types:
        return []
    conditions = _conditions(asked, "notification_id", descending=descending)
    conditions += [
        "topic = ANY(%(types)s)",
        "notification_id > %(after)s AND notification_id <= %(last)s",
    ]
    if asked.execution is not None:
        conditions.append("originator_id = 'execution/' || %(execution)s")
    if asked.actor is not None:
        # Parsing the JSON of every event would take most of the time.
        conditions.append("strpos(meta, %(actor_json)s) > 0 AND meta::jsonb ->> 'by' = %(actor)s")
    order = "DESC" if descending else "ASC"
    query = f"""SELECT {EVENT_COLUMNS} FROM events WHERE {" AND ".join(conditions)}
        ORDER BY notification_id {order} LIMIT %(limit)s"""
    values = {
        **asked._asdict(),
        "behind": behind,
        "limit": limit,
        "after": 0,
        "last": BEYOND,
        "types": types or list(STATUS_CHANGES),
        "actor_json": orjson.dumps(asked.actor).decode(),
    }
    if asked.execution is not None:
        streams = [f"execution/{asked.execution}"]
        rows = await fetch_of_streams(connection, query, values, streams, prepare=False)
    else:
        rows = await fetch_of_log(connection, query, values, descending=descending)
    return [StatusChange._make((*row[:5], orjson.loads(row[5]))) for row in rows]


def _conditions(asked: AccessRange, number: str, *, descending: bool) -> list[str]:
    conditions = [f"{number} {'<' if descending else '>'} %(behind)s"]
    if asked.since is not None:
        conditions.append("at >= %(since)s")
    if asked.until is not None:
        conditions.append("at < %(until)s")
    return conditions
