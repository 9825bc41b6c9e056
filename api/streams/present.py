"""Executions as they are now, for questions about what is no event."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from api.streams.entries import Entry
from domain.errors import Overloaded
from domain.model import Held

if TYPE_CHECKING:
    from api.streams.source import Source

CAPACITY = 4_096

log = structlog.get_logger()


class Present:
    """Keeps the latest states; those it does not know are asked for together."""

    def __init__(self, source: Source, capacity: int = CAPACITY) -> None:
        self._source = source
        self._capacity = capacity
        self._known: OrderedDict[str, Held[Any]] = OrderedDict()

    def note(self, entries: Sequence[Entry]) -> None:
        """What happened, in order; where the state after it was not told, it is not known any more."""
        for entry in entries:
            if entry.told is not None:
                self._keep(entry.stream, entry.told.after)
            else:
                self._known.pop(entry.stream, None)

    def forget(self) -> None:
        """Know nothing."""
        self._known.clear()

    async def of(self, streams: Iterable[str]) -> Mapping[str, Held[Any]]:
        """The states of streams; one that does not exist, or cannot be read, is left out."""
        wanted = list(streams)
        missing = [stream for stream in wanted if stream not in self._known]
        found = await asyncio.gather(*map(self._ask, missing))
        asked = dict(zip(missing, found, strict=True))
        for stream, held in asked.items():
            known = self._known.get(stream)
            if held is not None and (known is None or known.version < held.version):
                self._keep(stream, held)
        states = {stream: self._known.get(stream) or asked.get(stream) for stream in wanted}
        return {stream: held for stream, held in states.items() if held is not None}

    async def _ask(self, stream: str) -> Held[Any] | None:
        try:
            return await self._source.states.ask(stream)
        except Overloaded:
            raise
        except Exception:  # nothing is known of it, and the others do not suffer
            log.exception("a state cannot be read", stream=stream)
            return None

    def _keep(self, stream: str, held: Held[Any]) -> None:
        self._known[stream] = held
        self._known.move_to_end(stream)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
