"""Every data key held against the master key, and what is destroyed against the events that say so."""

from __future__ import annotations

from collections.abc import AsyncIterator

from domain.eventlog.archive.archived_queries import fetch_of_streams
from domain.eventlog.encryption import Vault
from domain.eventlog.store import Store
from domain.integrity.fault import Fault

KEYS_AT_ONCE = 1_000
GONE = "it was destroyed, and no event says that its content was erased"
MISMARKED = "its mark of an erasure is not the place of the event that erased its content"
NEXT = """SELECT originator_id, wrapped, erased FROM data_keys
    WHERE originator_id > %b ORDER BY originator_id LIMIT %b"""
ERASURES = """SELECT originator_id, min(notification_id) FROM events
    WHERE originator_id = ANY(%b::text[]) AND topic = ANY(%b::text[]) GROUP BY originator_id"""


async def key_faults(store: Store, vault: Vault) -> AsyncIterator[Fault | None]:
    """For each data key what is wrong with it, or None."""
    last = ""
    while True:
        async with store.reader() as connection:
            cursor = await connection.execute(NEXT, (last, KEYS_AT_ONCE), binary=True)
            rows = await cursor.fetchall()
            gone = [stream for stream, wrapped, erased in rows if erased is not None or not wrapped]
            values = gone, sorted(store.codec.erasing)
            said = {
                row[0]: row[1] for row in await fetch_of_streams(connection, ERASURES, values, gone)
            }
        if not rows:
            return
        for stream, wrapped, erased in rows:
            what = _wrong(vault, stream, wrapped, erased, said.get(stream))
            yield Fault("keys", stream, what) if what else None
        last = rows[-1][0]


def _wrong(vault: Vault, stream: str, wrapped: bytes, erased: int | None, event: int | None) -> str:
    """`erased` is the mark beside the key, `event` where the log says so."""
    if not wrapped and event is None:
        return GONE
    if erased != event and not (erased is None and not wrapped):
        return MISMARKED
    if wrapped and not vault.unwraps(wrapped, stream):
        return "the master key does not unwrap it"
    return ""
