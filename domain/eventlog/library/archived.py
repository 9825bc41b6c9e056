"""Runs queries of the recorders about events of which some are archived: `archive.archived_queries` for blocking code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import Cursor

from domain.eventlog.archive.archived_queries import HORIZON, OF_STREAMS, Rows, positions_among
from domain.eventlog.archive.archived_values import with_archived_events
from domain.eventlog.archive.reader import RANGES, read_events
from domain.eventlog.codec import EventRow

AT_ONCE = 4_096
"""Archived positions that one query is about."""


def select_of_streams(
    cursor: Cursor[tuple[Any, ...]], query: str, values: Sequence[Any], streams: Iterable[str]
) -> Rows:
    """The rows of a query that concerns only events of these streams.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    stream_values = (list(streams),)
    rows = cursor.execute(query.encode(), values, prepare=True).fetchall()
    archived = cursor.execute(OF_STREAMS, stream_values).fetchall()
    while archived:
        positions = sorted(positions_among(archived))
        again, bound = with_archived_events(query, values, _events_at(cursor, positions))
        rows = cursor.execute(again.encode(), bound, prepare=False).fetchall()
        before, archived = archived, cursor.execute(OF_STREAMS, stream_values).fetchall()
        if archived == before:
            break
    return rows


def select_of_log(
    cursor: Cursor[tuple[Any, ...]],
    query: str,
    span: tuple[int, int],
    more: Sequence[Any],
    limit: int,
) -> Rows:
    """The first `limit` rows of a query whose values are two positions (after, until), `more` and a limit.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    found: Rows = []
    after, until, horizon = max(span[0], 0), span[1], 0
    while True:
        while after < min(horizon, until) and len(found) < limit:
            end = min(after + AT_ONCE, horizon, until)
            values = (after, end, *more, limit - len(found))
            events = _events_at(cursor, range(after + 1, end + 1))
            again, bound = with_archived_events(query, values, events, beyond=horizon)
            found += cursor.execute(again.encode(), bound, prepare=False).fetchall()
            after = end
        if after >= until or len(found) >= limit:
            return found
        values = (after, until, *more, limit - len(found))
        rows = cursor.execute(query.encode(), values, prepare=True).fetchall()
        [(horizon,)] = cursor.execute(HORIZON).fetchall()
        if after >= horizon:
            return found + rows


def _events_at(cursor: Cursor[tuple[Any, ...]], positions: Sequence[int]) -> list[EventRow]:
    rows = cursor.execute(RANGES, (positions[0], positions[-1])).fetchall()
    return read_events(rows, positions)
