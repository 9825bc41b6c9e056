"""Follows what happens to credentials, so that each process notices what another one recorded."""

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
    """Follows events of a few types, woken by notifications, and looks by itself every second.

    Each handler is called with the id of an aggregate that changed; and with None where any may have. It also
    keeps when API keys were last used, and ends what goes on with a credential that has expired.
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
        """Call `handle` when events of some types happened to aggregates of a kind."""
        self._handlers[kind] = handle
        self._types += types

    def note_use(self, credential: str, at: float) -> None:
        """Note that a credential was used, at seconds since the epoch; of keys that is kept."""
        if credential.startswith(KEY):
            self._uses[credential.removeprefix(KEY)] = datetime.fromtimestamp(at, UTC)

    def tasks(self) -> Tasks:
        own = {"access changes": self._follow, "uses of keys": self._note_uses}
        return {**own, **self.open.tasks()}

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

    async def _note_uses(self) -> None:
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
            self._uses = uses | self._uses  # kept when it is tried again
            raise
