"""States along the log: the same from wherever one asks, and none where an event cannot be read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import ClassVar

import pytest
import structlog

from api.streams.entries import Entry
from api.streams.filters import ALL
from api.streams.forms import FORMS, SSE
from api.streams.groups import Topic
from api.streams.source import Source
from api.streams.words import EVENTS, WATCH, Words
from domain.execution.step_events import ExecutionEvent
from tests.support.event_writer import Log, completed, created, opened, started
from tests.support.hub import Line, until
from tests.support.progress_events import happened, progressed
from tests.support.watched_log import running

pytestmark = pytest.mark.anyio
STREAM = "execution/e-0"


class Teleported(ExecutionEvent):
    """What a newer program may write, and this one does not know."""

    type: ClassVar[str] = "execution.teleported"


def progress(entries: Sequence[Entry] | None) -> list[tuple[float | None, float]]:
    """What was before and after each entry."""
    told = [entry.told for entry in entries or () if entry.told]
    return [(t.before.state.progress if t.before else None, t.after.state.progress) for t in told]


@pytest.mark.parametrize("cursors", [(0, 4, 4, 6), (6, 4, 0)])
async def test_cursors_of_one_stream_that_resume_together_get_the_same_states(
    database: str, cursors: Sequence[int]
) -> None:
    async with opened(database) as store:
        await Log(store).write([created("e-0"), *started("e-0"), *progressed(10, 20, 30, 40)])
        alone = progress(await Source(store).rows.ask((STREAM, 0, True)))
        assert alone[-4:] == [(0, 10), (10, 20), (20, 30), (30, 40)]
        rows = Source(store).rows
        pages = await asyncio.gather(*(rows.ask((STREAM, cursor, True)) for cursor in cursors))
        for cursor, page in zip(cursors, pages, strict=True):
            assert progress(page) == alone[cursor:]


def positions(line: Line) -> list[int]:
    """Those of frames, of events alone."""
    return [
        int(found) for found in re.findall(rb'"position":(\d+),"(?:version|time)"', line.written)
    ]


def everything(words: Words) -> Topic:
    return Topic(FORMS[words, SSE], "", ALL)


@pytest.mark.parametrize("stream", ["", "execution/e-1"])
async def test_subscriber_that_joins_during_a_page_gets_all_of_it(
    database: str, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    async with running(database) as house:
        tell, begun, go_on = house.hub.source.live.tell, asyncio.Event(), asyncio.Event()

        async def tell_slowly(entries: Sequence[Entry]) -> None:
            begun.set()
            await go_on.wait()
            await tell(entries)

        states = house.hub.source.states
        other = everything(WATCH)._replace(stream="execution/e-0")
        await house.connect(other, await states.ask("execution/e-0"))
        monkeypatch.setattr(house.hub.source.live, "tell", tell_slowly)
        held = await states.ask(stream) if stream else None
        await house.log.write([*progressed(10), *progressed(20, execution="e-1")])
        await begun.wait()
        line = Line()
        topic = everything(WATCH)._replace(stream=stream)
        connection = house.hub.connect(line, topic, house.hub.window.head, held)
        connection.pump()
        await until(lambda: connection.live)
        go_on.set()
        await until(lambda: positions(line) == ([5] if stream else [4, 5]))


async def test_frame_made_without_its_state_is_made_again_with_it(database: str) -> None:
    async with opened(database) as store:
        await Log(store).write([created("e-0")])
        source, form = Source(store), FORMS[WATCH, SSE]
        entries = await source.between(0, 1)
        assert form.frame(entries[0]) == b""
        await source.live.tell(entries)
        assert b"event: status_changed" in form.frame(entries[0])


async def test_unreadable_event_stops_no_subscriber(database: str) -> None:
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
        house.hub.connect(again, everything(WATCH), 0, None).pump()
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
        rows = house.hub.source.rows
        asked = [rows.ask((f"execution/e-{number}", 1, True)) for number in range(2)]
        unknown, known = await asyncio.gather(*asked)
        assert progress(unknown) == []
        assert progress(known) == [(0, 20), (20, 100)]
