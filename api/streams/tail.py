"""The tail of the log: each event is read once for all streams of the process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from api.telemetry.metrics import LOG_POSITION
from domain.errors import Overloaded
from domain.eventlog.notifications import Listener
from domain.eventlog.store import READ_BYTES, Store

if TYPE_CHECKING:
    from api.streams.hub import Hub

PAGE = 1_000
PAUSE = 0.25
REPAIR = 1.0
ALONE = 0.05
"""While nobody reads along, the end of the log need not be asked for after every commit."""

log = structlog.get_logger()


class Tail:
    """Reads on whenever something was written, and hands it to the hub.

    Positions have no holes: it would rather stop than skip one.
    """

    def __init__(self, store: Store, hub: Hub, listener: Listener, schema: str) -> None:
        self._store = store
        self._hub = hub
        self._listener = listener
        self._wake = listener.subscribe(schema)
        self._read = asyncio.Event()

    async def run(self) -> None:
        """Follow, until cancelled."""
        while True:
            try:
                while await self._advance():
                    pass
            except Overloaded:
                await asyncio.sleep(PAUSE)
            except Exception:
                log.exception("the tail of the log cannot go on")
                await asyncio.sleep(REPAIR)
            else:
                if not self._hub.open:
                    await asyncio.sleep(ALONE)
                await self._wake.wait(self._listener.poll)

    async def reached(self, position: int) -> None:
        """Until everything up to a position is published."""
        while self._hub.window.head < position:
            self._wake.set()
            self._read.clear()
            await self._read.wait()

    async def _advance(self) -> bool:
        after = self._hub.window.head
        if not self._hub.open:
            # Nobody reads along: nothing needs to be kept, and only the end of the log is of use.
            return await self._keep_up()
        rows = await self._store.read(after, PAGE)
        if not rows or self._hub.window.head != after:
            return bool(rows)
        if rows[0].position != after + 1 or rows[-1].position != after + len(rows):
            raise RuntimeError(f"the log has a hole after position {after}")
        await self._hub.publish(await self._hub.source.entries(rows))
        LOG_POSITION.set(self._hub.window.head)
        self._read.set()
        return len(rows) == PAGE or sum(len(row.data) for row in rows) >= READ_BYTES

    async def _keep_up(self) -> bool:
        head, _ = await self._store.head()
        alone = not self._hub.open
        if alone and head > self._hub.window.head:
            self._hub.begin(head)
        LOG_POSITION.set(self._hub.window.head)
        self._read.set()
        return not alone
