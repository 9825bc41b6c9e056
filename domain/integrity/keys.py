"""Checks every data key: whether the master key unwraps it, and whether a destroyed one has an erasing event."""

from __future__ import annotations

from collections.abc import AsyncIterator

from domain.eventlog.archive.archived_queries import fetch_of_streams
from domain.eventlog.encryption import Vault
from domain.eventlog.store import Store
from domain.integrity.fault import Fault

KEYS_AT_ONCE = 1_000
DESTROYED = "it was destroyed, and no event says that its content was erased"
MISMARKED = "its mark of an erasure is not the place of the event that erased its content"
NEXT = """SELECT originator_id, wrapped, erased FROM data_keys
    WHERE originator_id > %b ORDER BY originator_id LIMIT %b"""
ERASURES = """SELECT originator_id, min(notification_id) FROM events
    WHERE originator_id = ANY(%b::text[]) AND topic = ANY(%b::text[]) GROUP BY originator_id"""


async def key_faults(store: Store, vault: Vault) -> AsyncIterator[Fault | None]:
    """For each data key its fault, or None."""
    last = ""
    while True:
        async with store.reader() as connection:
            cursor = await connection.execute(NEXT, (last, KEYS_AT_ONCE), binary=True)
            rows = await cursor.fetchall()
            destroyed = [
                stream for stream, wrapped, mark in rows if mark is not None or not wrapped
            ]
            values = destroyed, sorted(store.codec.erasing)
            found = await fetch_of_streams(connection, ERASURES, values, destroyed)
            erasures = {row[0]: row[1] for row in found}
        if not rows:
            return
        for stream, wrapped, mark in rows:
            what = _fault(vault, stream, wrapped, mark, erasures.get(stream))
            yield Fault("keys", stream, what) if what else None
        last = rows[-1][0]


def _fault(vault: Vault, stream: str, wrapped: bytes, mark: int | None, event: int | None) -> str:
    """The fault of a key, or ''. `mark`: the position of the erasure beside the key; `event`: the one in the log."""
    if not wrapped and event is None:
        return DESTROYED
    if mark != event and not (mark is None and not wrapped):
        return MISMARKED
    if wrapped and not vault.unwraps(wrapped, stream):
        return "the master key does not unwrap it"
    return ""
