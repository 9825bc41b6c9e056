"""Where a connection that is behind gets its next frames: from the window, or from one stream's rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import structlog

from api.streams.entries import Chunk, Entry, Segment
from api.streams.groups import Group, joined
from domain.errors import Overloaded
from domain.eventlog.states import PAGE_BYTES

if TYPE_CHECKING:
    from api.streams.source import Source

STRIDE = 64
"""Chunks of the past begin at multiples of this in their segment, so that readers share them."""
PAGE = 100
PAUSE = 0.25

log = structlog.get_logger()

Then = Callable[[], None]


class Pending(Enum):
    """Why there is nothing to send."""

    ARRIVED = "all that was published has been handed out"
    WAITING = "it is being fetched; `then` will be called"


class Later(NamedTuple):
    """Nothing before this time, when the next entry was recorded."""

    at: datetime


Step = Chunk | Pending | Later


class Reader(Protocol):
    """Hands out what follows a cursor."""

    def next(self, cursor: int, then: Then, until: datetime | None) -> Step:
        """The next chunk; `until` leaves for later what was recorded later."""
        ...

    def seek(self, cursor: int) -> None:
        """Begin again from another cursor."""
        ...


class LogReader:
    """Reads the whole log through the window, which all connections share."""

    __slots__ = ("_group", "_window")

    def __init__(self, source: Source, group: Group) -> None:
        self._window = source.window
        self._group = group

    def next(self, cursor: int, then: Then, until: datetime | None) -> Step:
        window, told = self._window, self._group.told
        if cursor >= window.head:
            return Pending.ARRIVED
        segment = window.find(cursor + 1, told=told)
        if segment is None:
            window.want(cursor + 1, told=told, then=then)
            return Pending.WAITING
        if cursor + 1 == segment.first and segment.last < window.head:
            self._expect(segment.last + 1)
        offset = cursor + 1 - segment.first
        if until is not None:
            return timely(self._group, segment.entries[offset:], until)
        return self._chunk(segment, offset)

    def seek(self, cursor: int) -> None:
        """The window knows every position."""

    def _expect(self, position: int) -> None:
        """Fetch the next page while this one is sent."""
        if self._window.find(position, told=self._group.told) is None:
            self._window.want(position, told=self._group.told, then=_nothing)

    def _chunk(self, segment: Segment, offset: int) -> Chunk:
        topic = self._group.topic
        shared = topic.filter.everything and offset % STRIDE == 0 and segment.full
        key = (topic.form, offset)
        if shared and (known := segment.chunks.get(key)):
            return known
        end = (offset // STRIDE + 1) * STRIDE if topic.filter.everything else None
        chunk = next(joined(topic, segment.entries[offset:end]))
        if shared:
            segment.chunks[key] = chunk
        return chunk


class StreamReader:
    """Reads the rows of one stream, page by page; what comes meanwhile is seen by its group."""

    __slots__ = ("_ahead", "_asked", "_floor", "_group", "_read", "_source", "_version", "over")

    def __init__(self, source: Source, group: Group, version: int | None, known: int) -> None:
        self._source = source
        self._group = group
        self._version = version
        self._floor = known
        self._ahead: list[Entry] = []
        self._asked: asyncio.Future[Any] | None = None
        """The answer that is waited for; any other is to a question from before a `seek`."""
        self._read: int | None = None
        """The head of the log when the last row was read; None while there may be more."""
        self.over: bool | None = None
        """What the newest event that has a say in it said about the end of the story."""

    def next(self, cursor: int, then: Then, until: datetime | None) -> Step:
        if self._ahead:
            return self._handed(until)
        if self._read is not None:
            if self._read > cursor:
                return Chunk(b"", self._read)
            if self._group.latest <= cursor:
                return Pending.ARRIVED
            self.seek(cursor)
        if self._asked is None:
            self._ask(cursor, then)
        return Pending.WAITING

    def seek(self, cursor: int) -> None:
        self._ahead, self._read, self._asked = [], None, None
        self._version = None if cursor else 0

    def _handed(self, until: datetime | None) -> Step:
        if until is not None:
            step = timely(self._group, self._ahead, until)
        else:
            step = next(joined(self._group.topic, self._ahead))
        if isinstance(step, Chunk):
            for entry in self._ahead:
                if entry.position <= step.cursor and entry.row.version > self._floor:
                    self.over = self.over if entry.ends is None else entry.ends
            self._ahead = [entry for entry in self._ahead if entry.position > step.cursor]
        return step

    def _ask(self, cursor: int, then: Then) -> None:
        stream, told = self._group.topic.stream, self._group.told
        if self._version is None:
            self._asked = versions = self._source.versions.ask((stream, cursor))
            versions.add_done_callback(partial(self._placed, cursor, then))
        else:
            head = self._source.window.head
            self._asked = rows = self._source.rows.ask((stream, self._version, told))
            rows.add_done_callback(partial(self._answered, cursor, head, then))

    def _placed(self, cursor: int, then: Then, answer: asyncio.Future[int | None]) -> None:
        if self._answers(answer, then):
            self._version = answer.result() or 0
            self._ask(cursor, then)

    def _answered(
        self, cursor: int, head: int, then: Then, answer: asyncio.Future[Sequence[Entry] | None]
    ) -> None:
        if not self._answers(answer, then):
            return
        self._asked = None
        found = answer.result() or ()
        # What the tail has not published yet comes from there.
        self._ahead = [entry for entry in found if cursor < entry.position <= self._published]
        if self._ahead:
            self._version = self._ahead[-1].row.version
        if not _cut(found) or len(self._ahead) < len(found):
            self._read = head
        then()

    @property
    def _published(self) -> int:
        return self._source.window.head

    def _answers(self, answer: asyncio.Future[Any], then: Then) -> bool:
        """Whether it is an answer, and to what was asked last. After a failure whoever still wants one
        asks again.
        """
        error = answer.exception()
        if answer is not self._asked:
            return False
        if error is None:
            return True
        if not isinstance(error, Overloaded):
            log.error("a page of a stream could not be read", exc_info=error)
        self._asked = None
        asyncio.get_running_loop().call_later(PAUSE, then)
        return False


def _cut(page: Sequence[Entry]) -> bool:
    """Whether there may be more behind a page."""
    return len(page) >= PAGE or sum(len(entry.row.data) for entry in page) >= PAGE_BYTES


def timely(group: Group, entries: Sequence[Entry], until: datetime) -> Step:
    """Those entries that were recorded by then; where the next was not, when it was."""
    wanted = group.topic.filter
    due = []
    for entry in entries:
        if wanted.matches(entry) and entry.row.at > until:
            break
        due.append(entry)
    return next(joined(group.topic, due)) if due else Later(entries[0].row.at)


def _nothing() -> None:
    pass
