"""Chooses the database that answers a read: a standby that has the wanted data, else the primary.

A view never includes an event that the primary has not acknowledged, so its rows may be shown from any database. The log
on a standby may have events that the primary has not acknowledged, and that would be lost in a failover. So reads of the
log on a standby end at the head that the primary shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from domain.errors import Damaged, Overloaded
from domain.eventlog.connection.standby import Standby
from domain.eventlog.connection.standby_store import LOG_REACHES, StandbyCondition
from domain.eventlog.queries import NEWEST
from domain.eventlog.states import LoadedState
from domain.eventlog.store import Store

T = TypeVar("T")
Read = Callable[[Store], Awaitable[T]]
"""Reads from a store. It may be called a second time, with another store."""
LogRead = Callable[[Store, int], Awaitable[T]]
"""Reads the log from a store, up to a position. Raises Overloaded if it finds an event beyond the position."""
VIEW_REACHES = "SELECT position >= %b FROM bookmarks WHERE view = %b"


class ReadSources:
    """The primary, and a standby if there is one. Only errors of reads from the primary are raised to the caller."""

    def __init__(self, primary: Store, standby: Standby | None = None) -> None:
        self.primary = primary
        self.standby = standby

    async def of_view(self, view: str, position: int, read: Read[T]) -> T:
        """Read from a view that has reached a position, as the view on the primary has."""
        reached = StandbyCondition(VIEW_REACHES, (position, view)) if position else None
        return await self._first(reached, read)

    async def of_log(self, position: int, read: LogRead[T]) -> T:
        """Read the log at least up to a position that the primary shows; from a standby, up to exactly that position."""

        async def read_bounded(store: Store) -> T:
            return await read(store, NEWEST if store is self.primary else position)

        return await self._first(StandbyCondition(LOG_REACHES, (position,)), read_bounded)

    async def of_past(
        self, position: int, read: Read[LoadedState], settled: Callable[[LoadedState], bool]
    ) -> LoadedState | None:
        """Read a past state from the standby, if its log has reached `position` and the state is `settled`, so that later
        events cannot change the answer. None if the state must be read from the primary.
        """
        if self.standby is None or not self.standby.usable:
            return None
        with suppress(Overloaded, Damaged):
            reading = await read(self.standby.store)
            versioned, shown = reading.versioned, self.primary.seen.position
            if reading.position < position or versioned is None or versioned.position > shown:
                return None
            return reading if settled(reading) else None
        return None

    async def _first(self, reached: StandbyCondition | None, read: Read[T]) -> T:
        if self.standby is not None and self.standby.usable:
            store = self.standby.store
            with suppress(Overloaded):
                return await read(store if reached is None else store.once(reached))
        return await read(self.primary)
