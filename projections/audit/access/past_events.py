"""Pages of events out of the whole log, of which those of old positions are in files of the archive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from time import monotonic
from typing import Any

from psycopg import AsyncConnection

from domain.errors import TooExpensive
from domain.eventlog.archive.archived_queries import Rows, fetch_of_span, read_horizon

AT_ONCE = 8_192
"""Positions in files that are looked through together."""
SECONDS = 5.0
BEYOND = 2**62
CHEAPER = "so far back are events in files of the archive: name an execution, or a shorter time"
OUTSIDE = """SELECT coalesce(max(last) FILTER (WHERE last_at < %(since)s), 0),
    min(last) FILTER (WHERE last_at >= %(until)s) FROM event_archives"""
"""Up to where all events are from before a time, and from where on all are from after another."""


async def fetch_of_log(
    connection: AsyncConnection, query: str, values: dict[str, Any], *, descending: bool
) -> Rows:
    """The first rows of a query that names the position `behind` which it begins, a `limit`, and the span `after`, `last`;
    it may name `since` and `until`.

    Raises:
        TooExpensive: they would be looked for in too many files.
        Damaged: a file is missing or damaged; `file` names it.
    """
    behind, limit, found = values["behind"], values["limit"], Rows()
    after, last = (0, behind - 1) if descending else (behind, BEYOND)
    low, high = await _outside(connection, values["since"], values["until"])
    bounds = max(after, low), min(last, high)
    end = monotonic() + SECONDS
    for span in _spans(*bounds, await read_horizon(connection), descending=descending):
        asked = {"after": span[0], "last": span[1], "limit": limit - len(found)}
        found += await fetch_of_span(connection, query, values | asked, *span)
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
    """The parts of a span, one of them with all that is in the table alone."""
    end = min(last, horizon)
    parts = [(begin, min(begin + AT_ONCE, end)) for begin in range(after, end, AT_ONCE)]
    if last > horizon:
        parts.append((max(after, horizon), last))
    return reversed(parts) if descending else iter(parts)
