"""Destroys the copies in this process of data keys that other processes have destroyed, within a moment."""

from __future__ import annotations

import asyncio

from domain.errors import Overloaded
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.store import Store
from domain.supervisor import Background, Tasks

PAUSE = 0.25
"""Seconds between two queries while events are recorded."""
AT_ONCE = 1_000
"""Erasures that one query returns at most."""

LATEST = """SELECT erased FROM data_keys WHERE erased IS NOT NULL
    ORDER BY erased DESC OFFSET %b LIMIT 1"""
SINCE = """SELECT originator_id, erased FROM data_keys WHERE erased > %b
    ORDER BY erased LIMIT %b"""


class DestroyedKeys(Background):
    """Destroys keys in the keyring of a store, and so for all holders.

    Erasures are numbered by the positions of their events, so none becomes visible behind one that was read. The first
    query begins with the latest 1 000 erasures, as keys may have been read before it. Create this before the listener is
    started, which wakes it at each commit.
    """

    outages = (Overloaded,)

    def __init__(self, store: Store, listener: Listener) -> None:
        self._listener = listener
        self._wake = listener.subscribe(store.schema)
        self._store = store
        self._after: int | None = None

    def tasks(self) -> Tasks:
        return {"destroyed keys": self._run}

    async def _run(self) -> None:
        while True:
            if not await self.destroy_next():
                await asyncio.sleep(PAUSE)
                await self._wake.wait(self._listener.poll)

    async def destroy_next(self) -> bool:
        """Destroy the keys that were destroyed elsewhere since the last call; return whether there may be more.

        Raises:
            Overloaded: the database is unavailable.
        """
        async with self._store.reader() as connection:
            if self._after is None:
                cursor = await connection.execute(LATEST, (AT_ONCE,), binary=True)
                row = await cursor.fetchone()
                self._after = 0 if row is None else int(row[0])
            cursor = await connection.execute(SINCE, (self._after, AT_ONCE), binary=True)
            rows = await cursor.fetchall()
        if rows:
            self._store.keyring.destroy(stream for stream, _ in rows)
            self._after = rows[-1][1]
        return len(rows) == AT_ONCE
