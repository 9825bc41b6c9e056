"""Sends log lines to live subscribers that ask for them. Log lines have no position and move no cursor."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, Protocol

import structlog

from api.streaming.cooperative import Cooperative
from api.streaming.encoding import join
from api.streaming.index import WHOLE_LOG, Group
from api.streaming.log.entry import EXECUTIONS, Entry
from api.streaming.log.folding import Folding
from api.streaming.log.loader import Loader
from api.streaming.subscriber import Subscriber
from domain.errors import Overloaded
from domain.eventlog.connection.notifications import Wake
from domain.eventlog.encryption import DataKey
from domain.model import Versioned
from projections.log_lines.model import NOTED_EVENTS, StoredLine, line_document, note_of
from projections.log_lines.tail import LinePage
from projections.representations.client_json import plain_json

POLL = 0.25
"""Seconds between two reads without a wake-up; other processes append lines, too."""
ERROR_PAUSE = 1.0
"""Seconds before the next read after an error."""
GATHERING = 0.02
"""Seconds between two reads, so that one read gets the lines of many appends."""
CONNECTS_WITHIN = 10.0
"""Seconds after `ready` for which lines are read for a client that has not connected yet."""
NO_CURSOR = 0
"""The cursor of chunks of log lines, which is not used."""

log = structlog.get_logger()


class LineTail(Protocol):
    """The end of the log lines, page by page."""

    async def begin(self) -> None:
        """Skip the lines that exist now."""

    async def read(self, wanted: Callable[[str], bool]) -> LinePage:
        """The lines that were appended since the last read, of executions whose id is `wanted`."""
        ...


Lines = Mapping[str, Sequence[bytes]]
"""Frames of log lines, by stream."""


class LogLines:
    """Reads appended log lines while a subscriber asks for them, and writes them to live subscribers.

    A subscriber that is not live misses lines: its group counts each write (`TopicGroup.logs`), so the subscriber
    gets the frame `fell-behind` when it is live again.
    """

    def __init__(
        self,
        tail: LineTail,
        loader: Loader,
        states: Folding,
        caught_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._tail = tail
        self._loader = loader
        self._caught_up = caught_up
        self._states = states
        self._groups: defaultdict[str, set[Group]] = defaultdict(set)
        self._wake = Wake()
        self._page: LinePage | None = None
        """The page that was read and not yet written: reading keys for it may fail, and is then repeated."""
        self._is_reading = False
        self._expected_until = 0.0
        self._begin_lock = asyncio.Lock()
        self._write_lock = asyncio.Lock()

    def wake(self) -> None:
        """This process appended lines; those of others are found by looking."""
        if self._is_reading:
            self._wake.set()

    async def ready(self) -> None:
        """Begin to read, so that a client that connects within `CONNECTS_WITHIN` gets all lines appended from now on."""
        self._expected_until = monotonic() + CONNECTS_WITHIN
        await self._begin()
        self._wake.set()

    def add(self, group: Group) -> None:
        """Write lines to a group whose topic asks for them."""
        self._groups[group.topic.stream].add(group)
        self._wake.set()

    def remove(self, group: Group) -> None:
        """Stop writing lines to a group."""
        groups = self._groups[group.topic.stream]
        groups.discard(group)
        if not groups:
            del self._groups[group.topic.stream]

    async def run(self) -> None:
        """Follow the log lines until cancelled; nothing is read while there are no subscribers."""
        while True:
            if not self._is_wanted:
                self._is_reading = False
            await self._wake.wait(POLL if self._is_reading else None)
            try:
                while self._is_wanted and await self._advance():
                    pass
            except Overloaded:
                await asyncio.sleep(POLL)
            except Exception:
                log.exception("the end of the log lines cannot be read")
                self._page = None  # the page may be the cause of the error
                self._send_back_to_catch_up()
                await asyncio.sleep(ERROR_PAUSE)

    async def note(self, entries: Sequence[Entry]) -> None:
        """Write the log lines that the server makes of events."""
        if not self._groups:
            return
        try:
            await self._write(
                (entry.stream, _frame(entry.stream, note_of(entry.states.recorded), entry.key))
                for entry in entries
                if entry.type in NOTED_EVENTS and self._stream_wanted(entry.stream) and entry.states
            )
        except Exception:
            log.exception("lines noted of events could not be sent")
            self._send_back_to_catch_up()

    def _send_back_to_catch_up(self) -> None:
        """Send all live subscribers back to catching up, as lines could not be written: they get `fell-behind`."""
        for groups in self._groups.values():
            for group in groups:
                group.logs += 1
                for subscriber in list(group.live):
                    subscriber.return_to_catch_up()

    @property
    def _is_wanted(self) -> bool:
        return bool(self._groups) or monotonic() < self._expected_until

    async def _begin(self) -> None:
        async with self._begin_lock:
            if not self._is_reading:
                self._page = None
                await self._tail.begin()
                self._is_reading = True

    async def _advance(self) -> bool:
        await self._begin()
        if self._page is None:
            self._page = await self._tail.read(lambda id_: self._stream_wanted(EXECUTIONS + id_))
        more, lines = self._page.more, self._page.lines
        if lines:
            keys = await self._loader.keys({EXECUTIONS + id_ for id_, _ in lines})
            if self._streams_with_filters(keys):
                # a filter is matched against the state in which the line was written
                await self._caught_up()
            streams = [(EXECUTIONS + id_, line) for id_, line in lines]
            await self._write(
                (stream, _frame(stream, line, keys[stream])) for stream, line in streams
            )
        self._page = None
        await asyncio.sleep(GATHERING)
        return more

    def _stream_wanted(self, stream: str) -> bool:
        return stream in self._groups or WHOLE_LOG in self._groups

    async def _write(self, frames: Iterable[tuple[str, bytes]]) -> None:
        lines: defaultdict[str, list[bytes]] = defaultdict(list)
        for stream, frame in frames:
            lines[stream].append(frame)
        if not lines:
            return
        filtered = self._streams_with_filters(lines)
        states = await self._states.newest(filtered) if filtered else {}
        async with self._write_lock:
            cooperative = Cooperative()
            for group, selected in self._frames_by_group(lines, states):
                await _write_to_group(group, selected, cooperative)

    def _streams_with_filters(self, streams: Iterable[str]) -> Sequence[str]:
        """The streams whose state the filter of some group needs."""
        anywhere = _any_filter(self._groups.get(WHOLE_LOG, ()))
        return [s for s in streams if anywhere or _any_filter(self._groups.get(s, ()))]

    def _frames_by_group(
        self, lines: Lines, states: Mapping[str, Versioned[Any]]
    ) -> Iterator[tuple[Group, list[bytes]]]:
        for group in list(self._groups.get(WHOLE_LOG, ())):
            admits = group.topic.filter.admits
            admitted = [lines[stream] for stream in lines if admits(states.get(stream))]
            yield group, [frame for frames in admitted for frame in frames]
        for stream, frames in lines.items():
            for group in list(self._groups.get(stream, ())):
                if group.topic.filter.admits(states.get(stream)):
                    yield group, list(frames)


def _frame(stream: str, line: StoredLine, key: DataKey | None) -> bytes:
    frame = {"type": "log", "execution": stream.removeprefix(EXECUTIONS)}
    return plain_json({**frame, **line_document(line, key)})


def _any_filter(groups: Iterable[Group]) -> bool:
    return any(group.topic.filter.chooses for group in groups)


async def _write_to_group(group: Group, lines: Sequence[bytes], cooperative: Cooperative) -> None:
    wire = group.topic.encoder.wire
    for chunk in join(wire, ((wire.frame(None, "log", line), NO_CURSOR) for line in lines)):
        group.logs += 1
        for subscriber in list(group.live):
            if subscriber.live:
                _deliver(subscriber, chunk.data)
            await cooperative.pause()
    await cooperative.pause()


def _deliver(subscriber: Subscriber, data: bytes) -> None:
    try:
        subscriber.deliver_logs(data)
    except Exception:
        log.exception("a stream cannot be written to", cursor=subscriber.cursor)
        subscriber.fail()
