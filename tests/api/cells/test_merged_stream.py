"""Streams of several logs merged into one: frames, lost connections, and refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Self

import httpx
import pytest

from api.cells import log_stream
from api.cells.client import CellClient, CellRequest
from api.cells.connection import Query
from api.cells.cursor import CellCursor, CellPosition
from api.cells.log_stream import Connect, LogStream
from api.cells.merged_stream import MergedFrame, MergedStream
from domain.errors import DomainError
from domain.eventlog.connection.notifications import Wake

pytestmark = pytest.mark.anyio

URLS = {name: f"http://{name}.example" for name in ("north", "south")}
REQUEST = CellRequest("/api/events", {"authorization": "Bearer x"})
START = {name: CellPosition() for name in URLS}
STREAM = {"content-type": "text/event-stream; charset=utf-8"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "SHORTEST_PAUSE", 0.0)


def event(position: int, kind: str = "x", *, more: bool = False) -> str:
    data = json.dumps({"position": position, **({"more": True} if more else {})})
    return ("" if more else f"id: {position}\n") + f"event: {kind}\ndata: {data}\n\n"


def about(kind: str, position: int, retry: int | None = None, **more: Any) -> str:
    said = f"retry: {retry}\n" if retry is not None else ""
    data = json.dumps({"position": position, **more})
    return f"id: {position}\nevent: {kind}\n{said}data: {data}\n\n"


class Visit:
    """One connection: the frames sent over it, and the error with which it ends. Without an error it stays open."""

    def __init__(self, *parts: str, fault: Exception | None = None, ends: bool = False) -> None:
        self.read = 0
        """The number of parts that were read."""
        self._parts, self._fault, self._ends = parts, fault, ends

    async def body(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            await asyncio.sleep(0)
            self.read += 1
            yield part.encode()
        if self._fault is not None:
            raise self._fault
        if not self._ends:
            await asyncio.Event().wait()


Answer = Visit | httpx.Response | Exception
LOST = httpx.ReadError("connection reset")
REFUSED = httpx.ConnectError("refused")


class Logs:
    """Logs that give the answers of a test one after the other, and then send nothing."""

    def __init__(self, **answers: Answer | Iterable[Answer]) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.opened: list[httpx.Response] = []
        self._answers = {
            name: list(given) if isinstance(given, Iterable) else [given]
            for name, given in answers.items()
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host.partition(".")[0]
        self.asked.append((name, dict(request.url.params)))
        waiting = self._answers.get(name)
        answer: Answer = waiting.pop(0) if waiting else Visit()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        headers = {**STREAM, "log-id": f"id-of-{name}", "log-position": "5"}
        self.opened.append(httpx.Response(200, headers=headers, content=answer.body()))
        return self.opened[-1]

    def of(self, name: str) -> list[dict[str, str]]:
        """The requests to one of the logs, in order."""
        return [query for asked, query in self.asked if asked == name]


def problem(status: int, code: str, **members: Any) -> httpx.Response:
    return httpx.Response(
        status, json={"type": f"/problems/{code}", "detail": "It is so.", **members}
    )


class Following:
    """A stream of several logs, and the frames read from it."""

    def __init__(
        self,
        logs: Logs,
        places: dict[str, CellPosition] = START,
        client: CellClient | None = None,
    ) -> None:
        self.client = client or CellClient(httpx.MockTransport(logs))
        self.wake = Wake()
        self.taken: list[MergedFrame] = []
        streams = [LogStream(name, place, self._connect(name)) for name, place in places.items()]
        self.merged = MergedStream(streams, CellCursor(places))

    def _connect(self, name: str) -> Connect:
        async def connected(query: Query) -> httpx.Response:
            return await self.client.stream(name, URLS[name], query, REQUEST)

        return connected

    async def open(self, *, now: bool = False) -> None:
        await self.merged.open(now=now)
        self.merged.start(self.wake.set)

    async def until(self, enough: Callable[[list[MergedFrame]], bool]) -> list[MergedFrame]:
        """Read until a condition is met; return all frames read so far."""
        async with asyncio.timeout(10):
            while True:
                self.taken += self.merged.take()
                if enough(self.taken):
                    return self.taken
                assert not self.merged.over, self.taken
                await self.wake.wait()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.merged.aclose()
        await self.client.aclose()


def so_many(number: int) -> Callable[[list[MergedFrame]], bool]:
    return lambda taken: len(taken) >= number


def names(*wanted: str) -> Callable[[list[MergedFrame]], bool]:
    return lambda taken: set(wanted) <= {merged.name for merged in taken}


def positions(taken: list[MergedFrame], cell: str) -> list[int]:
    read = [json.loads(merged.data) for merged in taken if merged.data]
    return [data["position"] for data in read if data["cell"] == cell]


async def test_events_name_their_log_and_have_a_cursor_of_all() -> None:
    logs = Logs(north=Visit(event(1), event(2)), south=Visit(event(1)))
    async with Following(logs) as following:
        taken = await following.until(so_many(3))
        assert (positions(taken, "north"), positions(taken, "south")) == ([1, 2], [1])
        assert taken[-1].cursor == "north.id-of-north.2~south.id-of-south.1"
    assert {query["from"] for _, query in logs.asked} == {"0"}


async def test_lost_connection_resumes_behind_the_last_event_without_a_frame_about_it() -> None:
    logs = Logs(north=[Visit(event(1), event(2), fault=LOST), Visit(event(2), event(3))])
    async with Following(logs) as following:
        taken = await following.until(so_many(3))
    assert positions(taken, "north") == [1, 2, 3]
    assert logs.of("north")[1] == {"from": "2", "log": "id-of-north"}


async def test_log_that_does_not_answer_is_reported_as_away_and_later_as_back() -> None:
    busy = httpx.Response(503)
    logs = Logs(
        north=[Visit(event(1), fault=LOST), REFUSED, busy, Visit(event(2))],
        south=Visit(event(1), about("caught-up", 1)),
    )
    async with Following(logs) as following:
        taken = await following.until(lambda taken: positions(taken, "north") == [1, 2])
    of_north = [
        merged.name for merged in taken if b'"south"' not in merged.data and merged.name != "checkpoint"
    ]  # fmt: skip
    assert of_north == ["x", "away", "back", "x"]
    away = next(merged for merged in taken if merged.name == "away")
    assert away.about == {"cell": "north", "reason": "it does not answer: ConnectError"}
    assert str(away.cursor).startswith("north.id-of-north.1~")


async def test_log_that_is_unavailable_from_the_beginning_delays_no_other() -> None:
    logs = Logs(north=[REFUSED, Visit(event(1))], south=Visit(event(1)))
    async with Following(logs) as following:
        taken = await following.until(so_many(4))
    assert sorted(merged.name for merged in taken) == ["away", "back", "x", "x"]


async def test_answer_that_is_not_a_stream_means_that_the_log_is_unavailable() -> None:
    page = httpx.Response(200, text="<html>")
    async with Following(Logs(north=[page, Visit(event(1))])) as following:
        [away, *_] = await following.until(names("away", "back"))
    assert away.about["reason"] == "it answers 200, but not what a log does"


async def test_reconnect_waits_as_long_as_a_stopping_server_asks() -> None:
    visits = Visit(event(1) + about("closing", 1, retry=0), ends=True), Visit(event(2))
    async with Following(Logs(north=visits)) as following:
        taken = await following.until(so_many(2))
    assert [merged.name for merged in taken] == ["x", "x"]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ([Visit(event(1) + about("closing", 1, reason="other-log"))], {"reason": "other-log"}),
        ([Visit(event(1) + about("closing", 1, reason="revoked"))], {"reason": "revoked"}),
        (
            [Visit(event(1), fault=LOST), problem(410, "other-log", log="new")],
            {"reason": "other-log", "detail": "The log `north` says: It is so."},
        ),
        (
            [Visit(event(1), fault=LOST), problem(401, "unauthenticated")],
            {"reason": "refused", "detail": "The log `north` says: It is so."},
        ),
    ],
)
async def test_log_that_refuses_to_continue_ends_the_stream_after_its_events(
    end: list[Answer], said: dict[str, str]
) -> None:
    async with Following(Logs(north=end)) as following:
        taken = await following.until(names("closing"))
        assert following.merged.over
    assert positions(taken, "north") == [1]
    assert taken[-1].about == {"cell": "north", **said}
    assert str(taken[-1].cursor).startswith("north.id-of-north.1~")


async def test_log_is_not_read_before_its_last_frames_were_sent() -> None:
    visit = Visit(*map(event, range(1, 50)))
    async with Following(Logs(north=visit)) as following:
        await following.wake.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert visit.read <= 2
        taken = await following.until(so_many(49))
    assert positions(taken, "north") == list(range(1, 50))


async def test_frames_of_one_event_are_not_separated_by_those_of_another_log() -> None:
    parts = event(1, "progress", more=True), event(1, "completed")
    south = Visit(*map(event, range(1, 20)))
    async with Following(Logs(north=Visit(*parts), south=south)) as following:
        taken = await following.until(so_many(21))
    of_north = [place for place, merged in enumerate(taken) if b'"north"' in merged.data]
    assert of_north[1] == of_north[0] + 1
    assert [taken[place].cursor is None for place in of_north] == [True, False]


async def test_event_with_a_lost_frame_is_sent_whole_after_the_reconnect() -> None:
    progress, completed = event(1, "progress", more=True), event(1, "completed")
    visits = Visit(progress, fault=LOST), Visit(progress, completed)
    async with Following(Logs(north=visits)) as following:
        taken = await following.until(names("completed"))
    assert [merged.name for merged in taken] == ["progress", "completed"]


async def test_log_line_is_sent_alone_and_moves_no_cursor() -> None:
    line = 'event: log\ndata: {"position":0}\n\n'
    async with Following(Logs(north=Visit(event(1), line))) as following:
        taken = await following.until(so_many(2))
    assert (taken[1].name, taken[1].cursor) == ("log", None)


async def test_caught_up_is_sent_once_every_log_has_caught_up() -> None:
    south = Visit(about("caught-up", 9), about("fell-behind", 9), about("caught-up", 9))
    logs = Logs(north=Visit(event(3), about("caught-up", 3)), south=south)
    async with Following(logs) as following:
        taken = await following.until(lambda taken: [m.name for m in taken].count("caught-up") == 2)
    assert taken[-1].about == {
        "cells": {
            "north": {"position": 3, "log": "id-of-north"},
            "south": {"position": 9, "log": "id-of-south"},
        }
    }


async def test_refusal_of_one_log_refuses_the_request_and_closes_all_connections() -> None:
    logs = Logs(north=Visit(event(1)), south=problem(410, "other-log", log="new"))
    following = Following(logs)
    with pytest.raises(DomainError) as refused:
        await following.open()
    assert refused.value.code == "other-log"
    assert refused.value.members == {"cell": "south", "log": "new"}
    assert [answer.is_closed for answer in logs.opened] == [True]
    await following.client.aclose()
    assert len(logs.asked) == 2


async def test_log_gets_no_second_request_with_a_token_that_it_refused() -> None:
    logs = Logs(south=problem(401, "unauthenticated"))
    following = Following(logs)
    again = Following(logs, client=following.client)
    for each in (following, again):
        with pytest.raises(DomainError) as refused:
            await each.open()
        assert refused.value.code == "unauthenticated"
    assert len(logs.of("south")) == 1
    await following.client.aclose()


async def test_stream_from_now_begins_at_the_position_of_each_log_when_it_answers() -> None:
    logs = Logs(north=[Visit(event(5), event(6), fault=LOST)], south=REFUSED)
    asked = CellPosition(at=datetime(2026, 11, 22, 8, tzinfo=UTC))
    following = Following(logs, {"north": asked, "south": asked})
    await following.open(now=True)
    taken = await following.until(lambda taken: bool(positions(taken, "north")))
    while len(logs.of("south")) < 2 or len(logs.of("north")) < 2:
        await asyncio.sleep(0)
        following.merged.take()
    await following.__aexit__()
    assert positions(taken, "north") == [6]
    assert [query["from"] for query in logs.of("north")[:2]] == ["now", "6"]
    assert [query["from"] for query in logs.of("south")[:2]] == ["now", "2026-11-22T08:00:00.000Z"]
    assert "south..t1795334400000" in {part for m in taken for part in str(m.cursor).split("~")}
