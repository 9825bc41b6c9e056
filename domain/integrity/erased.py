"""Finds the streams that have an erasing event."""

from __future__ import annotations

from collections.abc import Iterable

from domain.eventlog.archive.archived_queries import fetch_of_streams
from domain.eventlog.store import Store

ERASED = """SELECT DISTINCT originator_id FROM events
    WHERE originator_id = ANY(%b::text[]) AND topic = ANY(%b::text[])"""


async def find_erased(store: Store, streams: Iterable[str]) -> set[str]:
    """The streams among `streams` that have an erasing event."""
    if not (wanted := list(streams)):
        return set()
    async with store.reader() as connection:
        values = (wanted, sorted(store.codec.erasing))
        return {row[0] for row in await fetch_of_streams(connection, ERASED, values, wanted)}
