"""Chooses where a read is answered: by a standby that has what is asked for, else by the primary.

A view never has an event that the primary has not acknowledged, so its rows are safe to show wherever they are. The log itself is
another matter: a standby may have events that the primary has not acknowledged, and that are lost with it. So what
is read of it is bounded by what the primary shows.
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
"""Reads from a store. It may be called a second time, with another one."""
LogRead = Callable[[Store, int], Awaitable[T]]
"""The same of the log, up to a position. Raises Overloaded where it comes upon an event beyond."""
VIEW_REACHES = "SELECT position >= %b FROM bookmarks WHERE view = %b"


class ReadSources:
    """The primary, and a standby if there is one. What a read raises on the primary, its caller gets."""

    def __init__(self, primary: Store, standby: Standby | None = None) -> None:
        self.primary = primary
        self.standby = standby

    async def of_view(self, view: str, position: int, read: Read[T]) -> T:
        """What is read of a view whose rows go at least to a position, which those of the primary do."""
        reached = StandbyCondition(VIEW_REACHES, (position, view)) if position else None
        return await self._first(reached, read)

    async def of_log(self, position: int, read: LogRead[T]) -> T:
        """What is read of the log, at least up to a position that the primary shows, which bounds a standby."""

        async def read_bounded(store: Store) -> T:
            return await read(store, NEWEST if store is self.primary else position)

        return await self._first(StandbyCondition(LOG_REACHES, (position,)), read_bounded)

    async def of_past(
        self, position: int, read: Read[LoadedState], settled: Callable[[LoadedState], bool]
    ) -> LoadedState | None:
        """A state of the past as the standby has it, where its log goes at least to a position and that state is
        `settled`: it will never be another. None where the primary must be asked.
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
