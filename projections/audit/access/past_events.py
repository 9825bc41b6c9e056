"""Reads pages of events from the whole log, of which old events are in files of the archive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from time import monotonic
from typing import Any

from psycopg import AsyncConnection

from domain.errors import TooExpensive
from domain.eventlog.archive.archived_queries import Rows, fetch_of_span, read_horizon

AT_ONCE = 8_192
"""Positions in archive files that are searched at a time."""
SECONDS = 5.0
"""Seconds that the search for a page may take."""
BEYOND = 2**62
"""A position after all others."""
CHEAPER = "so far back are events in files of the archive: name an execution, or a shorter time"
OUTSIDE = """SELECT coalesce(max(last) FILTER (WHERE last_at < %(since)s), 0),
    min(last) FILTER (WHERE last_at >= %(until)s) FROM event_archives"""
"""The last archived position whose events are all before `since`, and the first one whose events are not before `until`."""


async def fetch_of_log(
    connection: AsyncConnection, query: str, values: dict[str, Any], *, descending: bool
) -> Rows:
    """Return the first rows of a query, which has the parameters `behind` (rows begin after it), `limit`, and `after` and
    `last` (the span that is searched), and may have `since` and `until`.

    Raises:
        TooExpensive: the search takes longer than `SECONDS`.
        Damaged: a file is missing or damaged; `file` names it.
    """
    behind, limit, found = values["behind"], values["limit"], Rows()
    after, last = (0, behind - 1) if descending else (behind, BEYOND)
    low, high = await _outside(connection, values["since"], values["until"])
    bounds = max(after, low), min(last, high)
    end = monotonic() + SECONDS
    for span in _spans(*bounds, await read_horizon(connection), descending=descending):
        asked = {"after": span[0], "last": span[1], "limit": limit - len(found)}
        # Not prepared: a plan for all values would test the actor of each event before its type.
        found += await fetch_of_span(connection, query, values | asked, *span, prepare=False)
        if len(found) == limit:
            break
        if monotonic() > end:
            raise TooExpensive.field("execution", CHEAPER)
    return found


async def _outside(
    connection: AsyncConnection, since: datetime | None, until: datetime | None
) -> tuple[int, int]:
    values = {"since": since, "until": until}
    [(low, high)] = await (await connection.execute(OUTSIDE, values)).fetchall()
    return int(low), BEYOND if high is None else int(high)


def _spans(after: int, last: int, horizon: int, *, descending: bool) -> Iterator[tuple[int, int]]:
    """Return the parts in which a span is searched. One part has all positions after the horizon, which are in the table."""
    end = min(last, horizon)
    parts = [(begin, min(begin + AT_ONCE, end)) for begin in range(after, end, AT_ONCE)]
    if last > horizon:
        parts.append((max(after, horizon), last))
    return reversed(parts) if descending else iter(parts)
