"""A cache of the newest events of the log. Each event is decoded once, when it is first needed."""

from __future__ import annotations

from collections.abc import Sequence

from domain.eventlog.codec import Codec, EventRow
from domain.model import Recorded

MOST_EVENTS, MOST_BYTES = 5_000, 16 * 1024 * 1024
"""Events, and bytes of events, that are cached; a reader that is further behind reads from the database."""


class LogEvent:
    """An event of the log: its row, and the event in it, decoded when it is first read."""

    __slots__ = ("_codec", "_recorded", "row")

    def __init__(self, row: EventRow, codec: Codec) -> None:
        self.row = row
        self._codec = codec
        self._recorded: Recorded | None = None

    @property
    def recorded(self) -> Recorded:
        """The event, its sealed fields as `Ciphertext`.

        Raises:
            Damaged: this program cannot read the row.
        """
        if self._recorded is None:
            self._recorded = self._codec.decode(self.row)
        return self._recorded


class HoleInLog(Exception):
    """A position of the log is missing. Positions have no holes, so the reader must not skip it."""


class RecentEvents:
    """The last few thousand events of the log that were read, without a hole."""

    def __init__(self, codec: Codec) -> None:
        self.head = 0
        """The position of the newest event."""
        self._codec = codec
        self._events: list[LogEvent] = []
        self._size = 0

    def begin_after(self, position: int) -> None:
        """Drop all events; the next one must follow on `position`."""
        self._events.clear()
        self._size = 0
        self.head = position

    def append(self, rows: Sequence[EventRow]) -> None:
        """Add the next events, and drop the oldest ones that exceed the limits.

        Raises:
            HoleInLog: the events do not follow on `head`.
        """
        if rows[0].position != self.head + 1 or rows[-1].position != self.head + len(rows):
            raise HoleInLog(f"the log has a hole after position {self.head}")
        self._events.extend(LogEvent(row, self._codec) for row in rows)
        self._size += sum(len(row.data) for row in rows)
        dropped = max(len(self._events) - max(MOST_EVENTS, len(rows)), 0)
        size = self._size - sum(len(event.row.data) for event in self._events[:dropped])
        while size > MOST_BYTES and dropped < len(self._events) - len(rows):
            size -= len(self._events[dropped].row.data)
            dropped += 1
        del self._events[:dropped]
        self._size = size
        self.head = rows[-1].position

    def drop_passed(self, position: int, spared: int = 1_000) -> None:
        """Drop the events up to a position that every reader has passed, except for the newest `spared`."""
        passed = self._events[: max(min(position - self.head, -spared) + len(self._events), 0)]
        self._size -= sum(len(event.row.data) for event in passed)
        del self._events[: len(passed)]

    def covers(self, position: int) -> bool:
        """Whether all events after a position, up to `head`, are cached."""
        return position >= self.head or (
            bool(self._events) and self._events[0].row.position <= position + 1
        )

    def after(self, position: int, until: int) -> Sequence[LogEvent]:
        """The events in (position, until]; `covers(position)` must hold."""
        if not self._events or until <= position:
            return ()
        first = self._events[0].row.position
        start = max(position + 1 - first, 0)
        return self._events[start : max(until + 1 - first, start)]
