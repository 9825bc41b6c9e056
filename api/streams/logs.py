"""Log lines, live, for those who ask for them: they have no position and move no cursor."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from api.streams.breath import Breath
from api.streams.entries import KIND, Entry
from api.streams.groups import LARGEST_WRITE, Group
from api.streams.present import Present
from domain.errors import Overloaded
from domain.eventlog.codec import plain_json
from domain.eventlog.encryption import DataKey
from domain.eventlog.notifications import Wake
from domain.eventlog.store import Store
from domain.model import Held
from projections.log_lines.model import NOTED_EVENTS, Kept, noted, shown
from projections.log_lines.tail import LogTail, Page

if TYPE_CHECKING:
    from api.streams.connection import Connection
    from api.streams.source import Source

POLL = 0.25
REPAIR = 1.0
GATHER = 0.02
"""Seconds between two looks, in which lines gather."""
LINGER = 10.0
"""Seconds that somebody who has asked may take to connect."""

log = structlog.get_logger()


class Told(NamedTuple):
    """A line of a stream, as JSON."""

    stream: str
    data: bytes


class LogFeed:
    """Reads what is appended while somebody wants it, and hands it to those who are live.

    Who is not live misses it, and is told so before it has caught up again: the count of its group
    has gone on without it.
    """

    def __init__(
        self, store: Store, source: Source, caught_up: Callable[[], Awaitable[object]]
    ) -> None:
        self._store = store
        self._caught_up = caught_up
        self._tail = LogTail(store)
        self._present = Present(source)
        self._groups: defaultdict[str, set[Group]] = defaultdict(set)
        self._news = Wake()
        self._page: Page | None = None
        """What was read and is yet to be told: the database may go away in between."""
        self._began = False
        self._expected = 0.0
        self._beginning = asyncio.Lock()
        self._telling = asyncio.Lock()

    def appended(self) -> None:
        """Lines were appended by this process; those of others are found by looking."""
        if self._began:
            self._news.set()

    async def ready(self) -> None:
        """Whoever connects within `LINGER` is told all that is appended from here on."""
        self._expected = monotonic() + LINGER
        await self._begin()
        self._news.set()

    def add(self, group: Group) -> None:
        """A group whose topic wants lines."""
        self._groups[group.topic.stream].add(group)
        self._news.set()

    def remove(self, group: Group) -> None:
        self._groups[group.topic.stream].discard(group)
        if not self._groups[group.topic.stream]:
            del self._groups[group.topic.stream]
        if not self._groups:
            self._present.forget()

    async def run(self) -> None:
        """Follow, until cancelled; while nobody wants lines, ask for none."""
        while True:
            if not self._asked:
                self._began = False
            await self._news.wait(POLL if self._began else None)
            try:
                while self._asked and await self._advance():
                    pass
            except Overloaded:
                await asyncio.sleep(POLL)
            except Exception:
                log.exception("the end of the log lines cannot be read")
                self._page = None  # it may be the page that is at fault
                self._miss()
                await asyncio.sleep(REPAIR)

    async def note(self, entries: Sequence[Entry]) -> None:
        """Tell what the server notes of events. Their streams' watchers know the states by now."""
        if not self._groups:
            return
        try:
            await self._note(entries)
        except Exception:
            log.exception("what is noted of events cannot be told")
            self._miss()

    async def _note(self, entries: Sequence[Entry]) -> None:
        self._present.note(entries)
        await self._tell(
            _told(entry.stream, noted(entry.told.recorded), entry.key)
            for entry in entries
            if entry.type in NOTED_EVENTS and self._wanted(entry.stream) and entry.told
        )

    def _miss(self) -> None:
        """Lines could not be told: whoever might have wanted them hears that it fell behind."""
        for groups in self._groups.values():
            for group in groups:
                group.logs += 1
                group.fall()

    @property
    def _asked(self) -> bool:
        return bool(self._groups) or monotonic() < self._expected

    async def _begin(self) -> None:
        async with self._beginning:
            if not self._began:
                self._page = None
                await self._tail.begin()
                self._began = True

    async def _advance(self) -> bool:
        await self._begin()
        if self._page is None:
            self._page = await self._tail.read(lambda execution: self._wanted(KIND + execution))
        more, lines = self._page.more, self._page.lines
        if lines:
            streams = {KIND + execution for execution, _ in lines}
            keys = await self._store.keys(streams)
            if self._filtered(streams):
                await self._caught_up()  # filters are about the states from before the lines
            await self._tell(
                _told(KIND + execution, line, keys[KIND + execution]) for execution, line in lines
            )
        self._page = None
        await asyncio.sleep(GATHER)
        return more

    def _wanted(self, stream: str) -> bool:
        return stream in self._groups or "" in self._groups

    async def _tell(self, lines: Iterable[Told]) -> None:
        by_stream: dict[str, list[bytes]] = {}
        for stream, data in lines:
            by_stream.setdefault(stream, []).append(data)
        if not by_stream:
            return
        held = await self._held(by_stream)
        async with self._telling:
            breath = Breath()
            for group, its in self._concerned(by_stream, held):
                await _sweep(group, its, breath)

    async def _held(self, streams: Iterable[str]) -> Mapping[str, Held[Any]]:
        asked = self._filtered(streams)
        return await self._present.of(asked) if asked else {}

    def _filtered(self, streams: Iterable[str]) -> Sequence[str]:
        """Those of streams that somebody's filter is about."""
        anywhere = _filters(self._groups.get("", ()))
        return [s for s in streams if anywhere or _filters(self._groups.get(s, ()))]

    def _concerned(
        self, by_stream: Mapping[str, Sequence[bytes]], held: Mapping[str, Held[Any]]
    ) -> Iterator[tuple[Group, list[bytes]]]:
        for group in list(self._groups.get("", ())):
            admits = group.topic.filter.admits
            its = [lines for stream, lines in by_stream.items() if admits(held.get(stream))]
            yield group, [line for lines in its for line in lines]
        for stream, lines in by_stream.items():
            for group in list(self._groups.get(stream, ())):
                if group.topic.filter.admits(held.get(stream)):
                    yield group, list(lines)


def _told(stream: str, line: Kept, key: DataKey | None) -> Told:
    frame = {"type": "log", "execution": stream.removeprefix(KIND), **shown(line, key)}
    return Told(stream, plain_json(frame))


def _filters(groups: Iterable[Group]) -> bool:
    return any(group.topic.filter.asked for group in groups)


def _writes(group: Group, lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in as few writes as `LARGEST_WRITE` allows."""
    wire = group.topic.form.wire
    parts: list[bytes] = []
    size = 0
    for line in lines:
        parts.append(wire.frame(None, "log", line))
        size += len(parts[-1])
        if size >= LARGEST_WRITE:
            yield wire.packed(parts)
            parts, size = [], 0
    if parts:
        yield wire.packed(parts)


async def _sweep(group: Group, lines: Sequence[bytes], breath: Breath) -> None:
    for data in _writes(group, lines):
        group.logs += 1
        for connection in list(group.live):
            if connection.live:
                _add(connection, data)
            await breath.take()
    await breath.take()


def _add(connection: Connection, data: bytes) -> None:
    try:
        connection.add(data)
    except Exception:
        log.exception("a stream cannot be written to", cursor=connection.cursor)
        connection.fail()
