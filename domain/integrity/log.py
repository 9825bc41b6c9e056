"""Checks the rules of the log: no holes, versions in order, a head that fits the last event, and bytes that can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from domain.errors import Damaged
from domain.eventlog.archive.archived_queries import fetch_of_span, fetch_of_streams
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DamagedKey, DataKey, WrongKey
from domain.eventlog.recent_events import LogEvent
from domain.eventlog.store import Store
from domain.integrity.erased import find_erased
from domain.integrity.fault import Fault

PART = "log"
SPAN = 1_000
"""Events whose predecessors one statement looks up: on a slow disk each look-up may take long."""
STILL_THERE = "says that the content was erased, and the data key is still there"
TOKEN = re.compile(rb'{"\$(?:sealed|secret)":"([^"]*)"}')

ENDS = """SELECT head.position, head.at, last.notification_id, last.at, log_head.id, line.id
    FROM (VALUES (1)) AS one LEFT JOIN head ON true LEFT JOIN log_head ON true
    LEFT JOIN (SELECT notification_id, at FROM events ORDER BY notification_id DESC LIMIT 1) AS last
        ON true
    LEFT JOIN (SELECT greatest((SELECT max(id) FROM log_lines), (SELECT max(last_id) FROM log_archives))
        AS id) AS line ON true"""
MISPLACED = """SELECT position, stream, version, at < earlier FROM (
        SELECT notification_id AS position, originator_id AS stream, originator_version AS version,
            at, lag(at) OVER (ORDER BY notification_id) AS earlier
        FROM events WHERE notification_id >= %b AND notification_id <= %b) AS e
    WHERE position > %b AND (at < earlier OR version < 1 OR version > 1 AND NOT EXISTS (
        SELECT FROM events AS p WHERE p.originator_id = e.stream
            AND p.originator_version = e.version - 1 AND p.notification_id < e.position))
    ORDER BY position"""
"""Events that do not follow on the version before, or have an earlier time than the event before."""
FOLLOWS = """SELECT e.position
    FROM unnest(%b::bigint[], %b::text[], %b::bigint[]) AS e (position, stream, version)
    JOIN events AS p ON p.originator_id = e.stream AND p.originator_version = e.version - 1
    WHERE p.notification_id < e.position"""
HOLES = """SELECT before + 1, position - 1 FROM (
        SELECT position, coalesce(lag(position) OVER (ORDER BY position),
            (SELECT max(notification_id) FROM events WHERE notification_id <= %b), 0) AS before
        FROM (SELECT notification_id AS position FROM events
                WHERE notification_id > %b AND notification_id <= %b
            UNION ALL SELECT %b::bigint + 1 WHERE %b) AS e) AS found
    WHERE position > before + 1 ORDER BY position"""
"""The missing positions before events of a span, and before its end, if the log should end there."""


class Ends(NamedTuple):
    """The end of the log by its head and by its last event, and the end of the log lines by their head and their last line."""

    head: int | None
    head_at: datetime | None
    last: int | None
    last_at: datetime | None
    line_head: int | None
    last_line: int | None

    @property
    def end(self) -> int:
        """The last position by the head or by the last event, whichever is greater."""
        return max(self.head or 0, self.last or 0)


async def ends(store: Store) -> Ends:
    """The present ends of the log, read in one query."""
    async with store.reader() as connection:
        [row] = await (await connection.execute(ENDS, binary=True)).fetchall()
    return Ends(*row)


def head_faults(found: Ends) -> Iterator[Fault]:
    """The faults of the heads."""
    if found.head is None:
        yield Fault(PART, "head", "there is none: nothing can be written")
    elif found.head != (found.last or 0):
        yield Fault(PART, "head", f"is at {found.head}, but the last event is at {found.last or 0}")
    elif found.last is not None and found.head_at != found.last_at:
        yield Fault(PART, "head", "has another time than the last event")
    last = found.last_line or 0
    if found.line_head != last:
        yield Fault(PART, "log_head", f"is at {found.line_head}, but the last line is at {last}")


async def order_faults(store: Store, after: int, until: int, end: int) -> list[Fault]:
    """The faults in positions, versions and times of the events in (after, until] of a log that should end at `end`."""
    async with store.reader() as connection:
        values = (after, after, until, until, until == end)
        rows = await fetch_of_span(connection, HOLES, values, after - 1, until)
    what = "there are no such events"
    holes = [Fault(PART, f"positions {first} to {last}", what, first) for first, last in rows]
    found = holes
    for start in range(after, until, SPAN):
        found += await find_misplaced(store, start, min(start + SPAN, until))
    return found


async def content_faults(store: Store, events: Sequence[LogEvent], *, opening: bool) -> list[Fault]:
    """The faults of events that cannot be read. With `opening`, sealed content is opened, too."""
    unopenable = await _find_unopenable(store, [event.row for event in events]) if opening else {}
    return [
        _fault(event.row.position, event.row.version, event.row.stream, what)
        for event in events
        if (what := _why_unreadable(event) or unopenable.get(event.row.position, ""))
    ]


def _fault(position: int, version: int, stream: str, what: str) -> Fault:
    return Fault(PART, f"event {version} of {stream}", what, position)


async def find_misplaced(store: Store, after: int, until: int) -> list[Fault]:
    """The faults of events in (after, until] that do not follow on the version before, or have an earlier time than the event
    before.
    """
    async with store.reader() as connection:
        span = (after, until, after)
        rows = await fetch_of_span(connection, MISPLACED, span, after - 1, until)
        # The version before may be archived, or be before the span.
        unclear = [row[:3] for row in rows if not row[3]]
        streams = [stream for _, stream, _ in unclear]
        values = ([row[0] for row in unclear], streams, [row[2] for row in unclear])
        found = await fetch_of_streams(connection, FOLLOWS, values, streams) if unclear else []
    following = {position for (position,) in found}
    early, loose = (
        "was recorded before the event before it",
        "does not follow on the version before it",
    )
    return [
        _fault(position, version, stream, early if is_early else loose)
        for position, stream, version, is_early in rows
        if is_early or position not in following
    ]


def _why_unreadable(event: LogEvent) -> str:
    try:
        _ = event.recorded
    except Damaged as error:
        return f"cannot be read: {error.reason}"
    return ""


async def _find_unopenable(store: Store, rows: Sequence[EventRow]) -> dict[int, str]:
    """Why the sealed content of events cannot be opened, by position. Content of erased streams is left out, as it must not
    open.
    """
    erasing = store.codec.erasing
    rows = [row for row in rows if row.type in erasing or TOKEN.search(row.data)]
    keys = await store.keys(row.stream for row in rows)
    erased = await find_erased(store, (stream for stream, key in keys.items() if key is None))
    return {
        row.position: STILL_THERE if row.type in erasing else _why_unopenable(row, keys[row.stream])
        for row in rows
        if row.stream not in erased
    }


def _why_unopenable(row: EventRow, key: DataKey | None) -> str:
    """Why the sealed content of an event cannot be opened, or ''. A damaged key is reported as a fault of its own."""
    if isinstance(key, DamagedKey):
        return ""
    if key is None:
        return "has sealed content, and its stream has no data key"
    try:
        for token in TOKEN.findall(row.data):
            key.open(token.decode())
    except (WrongKey, UnicodeDecodeError):
        return "has sealed content that its data key does not open"
    return ""
