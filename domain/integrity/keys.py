"""Every data key held against the master key."""

from __future__ import annotations

from collections.abc import AsyncIterator

from domain.eventlog.encryption import Vault
from domain.eventlog.store import Store
from domain.integrity.erased import erased_among
from domain.integrity.fault import Fault

KEYS_AT_ONCE = 1_000
GONE = "it was destroyed, and no event says that its content was erased"
NEXT = """SELECT originator_id, wrapped FROM data_keys WHERE originator_id > %b
    ORDER BY originator_id LIMIT %b"""


async def key_faults(store: Store, vault: Vault) -> AsyncIterator[Fault | None]:
    """For each data key what is wrong with it, or None."""
    last = ""
    while True:
        async with store.reader() as connection:
            cursor = await connection.execute(NEXT, (last, KEYS_AT_ONCE), binary=True)
            rows = await cursor.fetchall()
        if not rows:
            return
        erased = await erased_among(store, (stream for stream, wrapped in rows if not wrapped))
        for stream, wrapped in rows:
            if not wrapped:
                yield None if stream in erased else Fault("keys", stream, GONE)
            elif vault.unwraps(wrapped, stream):
                yield None
            else:
                yield Fault("keys", stream, "the master key does not unwrap it")
        last = rows[-1][0]
