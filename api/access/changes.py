"""Follows the events of credentials, so that each process notices changes that another one recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from api.access.open_requests import OpenRequests
from domain.errors import Overloaded
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.queries import WITH_TYPES
from domain.eventlog.store import Store
from domain.supervisor import Background, Tasks
from projections.key_uses import store_uses

PAUSE = 0.1
"""Seconds between two looks at the log."""
STORE_USES_EVERY = 5
"""Seconds between two notes of which keys were used."""
KEY = "key/"

Handle = Callable[[str | None], None]


class AccessChanges(Background):
    """Follows the events of credentials, woken by notifications, and polls every second.

    Each handler is called with the id of an aggregate that changed, or with None where any may have changed. The
    times at which API keys were last used are written, too, and open requests with an expired credential are ended.
    """

    outages = (Overloaded,)

    def __init__(self, store: Store, listener: Listener, schema: str) -> None:
        self.open = OpenRequests()
        self._store = store
        self._listener = listener
        self._wake = listener.subscribe(schema)
        self._handlers: dict[str, Handle] = {}
        self._types: list[str] = []
        self._position: int | None = None
        self._uses: dict[str, datetime] = {}

    def subscribe(self, kind: str, types: Sequence[str], handle: Handle) -> None:
        """Call `handle` after events of the given types, of aggregates of a kind."""
        self._handlers[kind] = handle
        self._types += types

    def note_use(self, credential: str, at: float) -> None:
        """Note the time, in seconds since the epoch, at which a credential was used; only uses of keys are written."""
        if credential.startswith(KEY):
            self._uses[credential.removeprefix(KEY)] = datetime.fromtimestamp(at, UTC)

    def tasks(self) -> Tasks:
        tasks = {"access changes": self._follow, "uses of keys": self._write_uses_always}
        return {**tasks, **self.open.tasks()}

    async def _follow(self) -> None:
        while True:
            await self._handle_changes()
            await asyncio.sleep(PAUSE)
            await self._wake.wait(self._listener.poll)

    async def _handle_changes(self) -> None:
        head, _ = await self._store.head()
        if self._position is None:
            for handle in self._handlers.values():
                handle(None)
        elif head > self._position:
            async with self._store.reader() as connection:
                values = (self._position, head, self._types)
                rows = await (await connection.execute(WITH_TYPES, values)).fetchall()
            for (stream,) in rows:
                kind, _, identity = stream.partition("/")
                self._handlers[kind](identity)
        self._position = head

    async def _write_uses_always(self) -> None:
        while True:
            await asyncio.sleep(STORE_USES_EVERY)
            if self._uses:
                await self._store_uses()

    async def _store_uses(self) -> None:
        uses, self._uses = self._uses, {}
        try:
            async with self._store.reader() as connection:
                await store_uses(connection, uses)
        except BaseException:
            self._uses = uses | self._uses  # written by the next attempt
            raise
