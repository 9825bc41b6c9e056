"""Checks that the master key of this process is still that of the log, once connections are open and from time to time.

The key was checked when the program started. But a change of the master key that began before its connections were open,
or while they were lost, did not find this process. Without this check, the process would report the data keys that were
wrapped again as damaged.
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
    """Check that the log still has the master key of this process. Passes where the database is unavailable, as then no
    change can begin either.

    Raises:
        RotationUnderWay: the master key is being changed.
        WrongKey: the master key was changed.
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
    """Open a store for the block, after a check of its master key.

    Raises:
        RotationUnderWay, WrongKey: as `require_current_key`; the store is closed.
    """
    await store.open()
    try:
        await require_current_key(store)
        yield store
    finally:
        await store.close()
