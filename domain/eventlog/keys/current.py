"""Whether the master key at hand is the log's, looked at once connections are open, and again and again.

It was checked when the program started, but a change of the master key that began between then and the opening of
the connections has not seen this process, nor one that was cut off then. If it went on, it would take the data keys
that were wrapped again for damaged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.errors import Overloaded
from domain.eventlog.encryption import WrongKey
from domain.eventlog.keys.rotation import RotationUnderWay
from domain.eventlog.store import Store

CURRENT = "SELECT id, former IS NOT NULL FROM master_key"


async def require_current_key(store: Store) -> None:
    """Let a process begin only with the master key that the log has now. Where the database is away, that was
    checked before, and no change can begin.

    Raises:
        RotationUnderWay: the master key is being changed.
        WrongKey: it was changed meanwhile.
    """
    try:
        async with store.reader() as connection:
            row = await (await connection.execute(CURRENT)).fetchone()
    except Overloaded:
        return
    if row is None:
        return
    if row[1]:
        raise RotationUnderWay
    if row[0] != store.keyring.master_key_id:
        raise WrongKey("the master key of this log was changed while this process started")


@asynccontextmanager
async def open_with_current_key(store: Store) -> AsyncIterator[Store]:
    """The store is open while the block runs, which it does not with a master key that the log has no more.

    Raises:
        RotationUnderWay, WrongKey: as `require_current_key` does; the store is closed then.
    """
    await store.open()
    try:
        await require_current_key(store)
        yield store
    finally:
        await store.close()
