"""The log held against its own rules: no holes, versions in order, a head that fits, bytes that open."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from domain.errors import Damaged
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DamagedKey, DataKey, WrongKey
from domain.eventlog.store import Store
from domain.integrity.erased import erased_among
from domain.integrity.fault import Fault

PAGE = 1_000
PART, KEYS = "log", "keys"
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
"""Events that do not follow on the version before theirs, or were recorded before their predecessor."""

OnProgress = Callable[[int, int], None]
"""Is called with the position reached and the position to reach."""


class Ends(NamedTuple):
    """Where the log ends by its head and by its last event, and its log lines by theirs."""

    head: int | None
    head_at: datetime | None
    last: int | None
    last_at: datetime | None
    line_head: int | None
    last_line: int | None

    @property
    def end(self) -> int:
        """The last position that there is, or should be."""
        return max(self.head or 0, self.last or 0)


async def ends(store: Store) -> Ends:
    """Where the log ends now, in one moment."""
    async with store.reader() as connection:
        [row] = await (await connection.execute(ENDS, binary=True)).fetchall()
    return Ends(*row)


def head_faults(found: Ends) -> Iterator[Fault]:
    """What is wrong with the heads."""
    if found.head is None:
        yield Fault(PART, "head", "there is none: nothing can be written")
    elif found.head != (found.last or 0):
        yield Fault(PART, "head", f"is at {found.head}, but the last event is at {found.last or 0}")
    elif found.last is not None and found.head_at != found.last_at:
        yield Fault(PART, "head", "has another time than the last event")
    last = found.last_line or 0
    if found.line_head != last:
        yield Fault(PART, "log_head", f"is at {found.line_head}, but the last line is at {last}")


async def event_faults(
    store: Store, end: int, on_progress: OnProgress, *, opening: bool
) -> AsyncIterator[Fault]:
    """What is wrong with the events up to a position; `opening` opens what is sealed in them.

    It reads pages of the log, each of which ends at its count or its bytes, and keeps none of it.
    """
    after = 0
    while after < end:
        rows = [row for row in await store.read(after, PAGE) if row.position <= end]
        until = rows[-1].position if rows else end
        for fault in _holes(rows, after, until):
            yield fault
        for fault in await misplaced(store, after, until):
            yield fault
        faults = await _closed(store, rows) if opening else {}
        for row in rows:
            if what := _unreadable(store, row) or faults.get(row.position, ""):
                yield Fault(PART, f"event {row.version} of {row.stream}", what)
        on_progress(until, end)
        after = until


def _holes(rows: Sequence[EventRow], after: int, until: int) -> Iterator[Fault]:
    expected = after + 1
    for position in (*(row.position for row in rows), *(() if rows else (until + 1,))):
        if position > expected:
            place = f"positions {expected} to {position - 1}"
            yield Fault(PART, place, "there are no such events")
        expected = position + 1


async def misplaced(store: Store, after: int, until: int) -> list[Fault]:
    """The events in (after, until] that do not follow on those before them."""
    async with store.reader() as connection:
        cursor = await connection.execute(MISPLACED, (after, until, after), binary=True)
        rows = await cursor.fetchall()
    return [
        Fault(
            PART,
            f"event {version} of {stream}",
            "was recorded before the event before it"
            if early
            else "does not follow on the version before it",
        )
        for _, stream, version, early in rows
    ]


def _unreadable(store: Store, row: EventRow) -> str:
    try:
        store.codec.decode(row)
    except Damaged as error:
        return f"cannot be read: {error.reason}"
    return ""


async def _closed(store: Store, rows: Sequence[EventRow]) -> dict[int, str]:
    """What cannot be opened of events, by their positions; of an erased stream nothing may be."""
    erasing = store.codec.erasing
    rows = [row for row in rows if row.type in erasing or TOKEN.search(row.data)]
    keys = await store.keys(row.stream for row in rows)
    erased = await erased_among(store, (stream for stream, key in keys.items() if key is None))
    return {
        row.position: STILL_THERE if row.type in erasing else _sealed(row, keys[row.stream])
        for row in rows
        if row.stream not in erased
    }


def _sealed(row: EventRow, key: DataKey | None) -> str:
    """What cannot be opened of it; a damaged key is a fault of its own."""
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
