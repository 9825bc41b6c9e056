"""States folded along the log: the same for every cursor, and no state after an event that cannot be read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import pytest
import structlog

from api.streaming.encoding import ENCODERS, SSE
from api.streaming.feed import Feed, FoldedFeed
from api.streaming.filter import Filter
from api.streaming.frames import EVENTS, WATCH, Format
from api.streaming.log.entry import Entry
from api.streaming.log.folding import Folding
from api.streaming.log.loader import Loader
from api.streaming.log.stored_log import StoredLog
from api.streaming.phase import HubState
from api.streaming.topic import KnownStream, Topic
from domain.eventlog.encryption import DataKey
from domain.execution.events.event import ExecutionEvent
from domain.execution.events.progress import ProgressUpdated
from tests.support import memory_log
from tests.support.event_writer import Log, completed, created, opened, started
from tests.support.hub import Line, until
from tests.support.memory_log import MemoryLog
from tests.support.progress_events import happened, progressed
from tests.support.watched_log import running

pytestmark = pytest.mark.anyio
STREAM = "execution/e-0"


class Teleported(ExecutionEvent):
    """An event of a newer version of the program, whose type this one does not know."""

    type: ClassVar[str] = "execution.teleported"


def progress(entries: Sequence[Entry] | None) -> list[tuple[float | None, float]]:
    """Collect the progress before and after each entry."""
    states = [entry.states for entry in entries or () if entry.states]
    return [(s.before.state.progress if s.before else None, s.after.state.progress) for s in states]


def folded_feed(loader: Loader) -> FoldedFeed:
    """A folded feed to which nothing is published."""
    shared = HubState()

    async def observe(entries: Sequence[Entry]) -> None:
        pass

    return FoldedFeed(Feed(loader, shared), loader, shared, Folding(loader), observe)


async def page(feed: FoldedFeed, stream: str, version: int) -> Sequence[Entry]:
    """The entries of a stream after a version."""
    return (await feed._stream_page(stream, version)).entries


@pytest.mark.parametrize("cursors", [(0, 4, 4, 6), (6, 4, 0)])
async def test_subscribers_that_resume_one_stream_at_different_cursors_get_the_same_states(
    database: str, cursors: Sequence[int]
) -> None:
    async with opened(database) as store:
        await Log(store).write([created("e-0"), *started("e-0"), *progressed(10, 20, 30, 40)])
        alone = progress(await page(folded_feed(Loader(StoredLog(store))), STREAM, 0))
        assert alone[-4:] == [(0, 10), (10, 20), (20, 30), (30, 40)]
        feed = folded_feed(Loader(StoredLog(store)))
        pages = await asyncio.gather(*(page(feed, STREAM, cursor) for cursor in cursors))
        for cursor, entries in zip(cursors, pages, strict=True):
            assert progress(entries) == alone[cursor:]


def positions(line: Line) -> list[int]:
    """The positions of frames that have an event."""
    return [
        int(found) for found in re.findall(rb'"position":(\d+),"(?:version|time)"', line.written)
    ]


def everything(format_: Format) -> Topic:
    return Topic(ENCODERS[format_, SSE], "", Filter())


@pytest.mark.parametrize("stream", ["", "execution/e-1"])
async def test_subscriber_that_joins_while_a_page_is_folded_gets_the_whole_page(
    database: str, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    async with running(database) as house:
        folding, begun, go_on = house.hub.folded._folding, asyncio.Event(), asyncio.Event()
        fold = folding.fold

        async def fold_slowly(entries: Sequence[Entry]) -> list[Entry]:
            begun.set()
            await go_on.wait()
            return await fold(entries)

        state = house.hub.loader.state
        other = everything(WATCH)._replace(stream="execution/e-0")
        await house.connect(other, await state("execution/e-0"))
        monkeypatch.setattr(folding, "fold", fold_slowly)
        versioned = await state(stream) if stream else None
        await house.log.write([*progressed(10), *progressed(20, execution="e-1")])
        await begun.wait()
        line = Line()
        topic = everything(WATCH)._replace(stream=stream)
        connection = house.hub.connect(
            line, topic, house.hub.folded.published.head, KnownStream.of(versioned)
        )
        connection.start()
        await until(lambda: connection.live)
        go_on.set()
        await until(lambda: positions(line) == ([5] if stream else [4, 5]))


async def test_only_entries_of_the_folded_feed_have_frames_for_watchers(
    database: str,
) -> None:
    async with opened(database) as store:
        await Log(store).write([created("e-0")])
        loader, encoder = Loader(StoredLog(store)), ENCODERS[WATCH, SSE]
        entries = await loader.between(0, 1)
        assert encoder.frame(entries[0]) == b""
        folded = await Folding(loader).fold(entries)
        assert b"event: status_changed" in encoder.frame(folded[0])


async def test_state_folded_before_the_feed_restarts_is_not_cached_as_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, begun, go_on = MemoryLog(), asyncio.Event(), asyncio.Event()
    for event in (memory_log.created("eu"), *(ProgressUpdated(progress=n) for n in (10, 20))):
        log.write(STREAM, event)
    entries = [Entry(entry.row, None) for entry in await log.between(0, 2)]
    keys = log.keys

    async def slow(streams: Iterable[str]) -> Mapping[str, DataKey | None]:
        begun.set()
        await go_on.wait()
        return await keys(streams)

    monkeypatch.setattr(log, "keys", slow)
    folding = Folding(log)
    late = asyncio.create_task(folding.fold(entries))
    await begun.wait()
    folding.forget()
    go_on.set()
    assert progress(await late) == [(None, 0), (0, 10)]
    assert (await folding.newest([STREAM]))[STREAM].state.progress == 20


async def test_subscribers_continue_after_an_unreadable_event(database: str) -> None:
    async with running(database) as house:
        watcher, raw = (
            await house.connect(everything(WATCH)),
            await house.connect(everything(EVENTS)),
        )
        with structlog.testing.capture_logs() as logs:
            await house.log.write(progressed(10))
            await house.log.write([*happened(Teleported()), *progressed(20)])
            await house.log.write([*progressed(30), *progressed(40, execution="e-1")])
            await until(lambda: positions(raw) == [4, 5, 6, 7, 8])
            await until(lambda: positions(watcher) == [4, 8])
        assert [line["event"] for line in logs] == ["an event cannot be read"]
        again = Line()
        house.hub.connect(again, everything(WATCH), 0, None).start()
        await until(lambda: positions(again) == [1, 2, 3, 4, 8])


async def test_unreadable_event_changes_no_state_of_other_events(
    database: str,
) -> None:
    async with running(database) as house:
        await house.log.write(
            [*happened(Teleported()), *progressed(10), *progressed(20, execution="e-1")]
        )
        ended = [completed("e-0"), completed("e-1")]
        await house.connect(everything(EVENTS))  # so that the log is followed
        watcher = await house.connect(everything(WATCH))
        await house.log.write(ended)
        await until(lambda: positions(watcher)[-1:] == [8])
        assert 7 not in positions(watcher)
        feed = house.hub.folded
        asked = [page(feed, f"execution/e-{number}", 1) for number in range(2)]
        unknown, known = await asyncio.gather(*asked)
        assert progress(unknown) == []
        assert progress(known) == [(0, 20), (20, 100)]
