"""The parties of an execution, which its first event names and which never change."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from domain.errors import Damaged
from domain.eventlog.store import Store

FIRST = """SELECT meta FROM events WHERE originator_id = %b AND originator_version = 1
    UNION ALL SELECT parties FROM event_archive_streams WHERE originator_id = %b AND first_version = 1"""
NAMES = ("customer", "provider")


class Parties(NamedTuple):
    """The customer and the provider, each of which may be None."""

    customer: str | None
    provider: str | None


async def parties_of(store: Store, stream: str) -> Parties | None:
    """The parties of a stream, read from its first event alone; None where the stream does not exist.

    Raises:
        Damaged: its first event cannot be read.
        Overloaded: the database is unavailable.
    """
    async with store.reader() as connection:
        cursor = await connection.execute(FIRST, (stream, stream), binary=True)
        row = await cursor.fetchone()
    if row is None:
        return None
    try:
        meta = orjson.loads(row[0])
        return Parties(meta.get("customer"), meta.get("provider"))
    except (ValueError, AttributeError):
        raise Damaged(f"the first event of {stream} cannot be read") from None


def parties_in(meta: str | None) -> str | None:
    """The parties in the `meta` of an event, as JSON, to be stored when the event is archived; `meta` itself where it cannot
    be read.
    """
    if meta is None:
        return None
    try:
        known = orjson.loads(meta)
        return orjson.dumps({name: known[name] for name in NAMES if name in known}).decode()
    except (ValueError, TypeError):
        return meta
