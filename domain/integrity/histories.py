"""Reads whole streams for checks of the whole log, through the library and in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress

from domain.errors import Overloaded
from domain.eventlog.codec import EventRow
from domain.eventlog.library import log_recorder
from domain.eventlog.library.recorders import RecordedNotification
from domain.eventlog.library.subscription import FAULTS
from domain.eventlog.queries import NEWEST
from domain.outages import AWAY
from domain.service_log import row_of

EVENTS = 500
"""Events of a page at most, as an event may be large."""
STREAMS, FIRST = 10, 50
"""Streams whose first events are read in one query, and events of each; most streams have no more."""


class Histories:
    """Reads the events of streams up to a position of the log.

    Raises:
        Overloaded: the database is unavailable.
    """

    def __init__(self, conninfo: str, schema: str) -> None:
        try:
            self._recorder = log_recorder(conninfo, schema)
        except FAULTS as error:
            raise Overloaded(AWAY) from error

    def close(self) -> None:
        """Close the connections."""
        self._recorder.datastore.close()

    async def pages(
        self, streams: Sequence[str], until: int = NEWEST
    ) -> AsyncGenerator[Sequence[EventRow]]:
        """The events of streams up to a position, in pages, those of each stream in order.

        One page is read ahead. Close this iterator before the `Histories`.

        Raises:
            Overloaded: the database is unavailable.
        """
        source = _gather(self._read(streams, until))
        ahead = asyncio.ensure_future(asyncio.to_thread(next, source, None))
        try:
            while (page := await ahead) is not None:
                ahead = asyncio.ensure_future(asyncio.to_thread(next, source, None))
                yield [row_of(event) for event in page]
        except FAULTS as error:
            raise Overloaded(AWAY) from error
        finally:
            with suppress(*FAULTS):
                await ahead

    def _read(self, streams: Sequence[str], until: int) -> Iterator[list[RecordedNotification]]:
        for start in range(0, len(streams), STREAMS):
            found = self._recorder.select_first_events(streams[start : start + STREAMS], FIRST)
            yield [event for event in found if event.id <= until]
            for event in found:
                if event.originator_version == FIRST:
                    yield from self._events_after_first(str(event.originator_id), until)

    def _events_after_first(self, stream: str, until: int) -> Iterator[list[RecordedNotification]]:
        after, more = FIRST, True
        while more:
            found = self._recorder.select_events(stream, gt=after, limit=EVENTS)
            yield [event for event in found if event.id <= until]
            more = len(found) == EVENTS
            after += len(found)


def _gather(pages: Iterator[list[RecordedNotification]]) -> Iterator[list[RecordedNotification]]:
    """Join small pages, as each page is passed from one thread to another."""
    gathered: list[RecordedNotification] = []
    for page in pages:
        gathered += page
        if len(gathered) >= EVENTS:
            yield gathered
            gathered = []
    yield gathered
