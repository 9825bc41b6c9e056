"""Following the log lines of one execution: its past, then what comes, until it has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp

from api.streaming.stream_position import BadCursor
from api.web import event_stream
from api.web.event_source import EventSource, control, frame
from api.web.request import Request
from domain.errors import NotFound, Overloaded
from domain.eventlog.codec import plain_json
from domain.json_forms import parse_time
from domain.model import Held
from projections.log_lines.news import Follower
from projections.log_lines.reader import LogFilter
from projections.log_lines.stream import Place, Recorded

UNWOKEN = 15.0
"""Seconds after which to look without being woken."""
AGAIN = 1.0


async def follow(request: Request, only: LogFilter) -> ASGIApp:
    """The lines as server-sent events; 204 where all was sent and nothing more will come.

    Raises:
        NotFound: there is no such execution.
        BadCursor: the stream cannot begin there.
    """
    hub = request.system.hub
    if request.system.hub.full:
        return event_stream.sent_away(request)
    execution = request.path["id"]
    held = await hub.loader.state(f"execution/{execution}")
    if held is None:
        raise NotFound("There is no such execution.")
    place = await _start(request, execution)
    resumed = request.header("last-event-id") is not None
    if resumed and await _over(request, held, execution, only, place):
        return Response(status_code=204)
    if hub.full:  # to ask takes time, in which others come
        return event_stream.sent_away(request)

    def frames(source: EventSource) -> AsyncGenerator[bytes]:
        return _followed(request, source, execution, only, place)

    headers = {"log-position": str(request.system.runner.position("logs"))}
    return EventSource(hub, frames, headers)


async def _start(request: Request, execution: str) -> Place:
    last = request.header("last-event-id")
    if last is not None:
        return await _placed(request, "Last-Event-ID", last)
    wanted = request.parameter("from") or "start"
    stream = request.system.log_stream
    if wanted == "start":
        return Place()
    if wanted == "now":
        return await stream.newest(execution)
    if ":" not in wanted:
        return await _placed(request, "from", wanted)
    try:
        at = parse_time(wanted)
    except ValueError as error:
        raise BadCursor(f"`from` must be start, now, a cursor or a time: {error}.") from None
    return await stream.since(execution, at)


async def _placed(request: Request, name: str, text: str) -> Place:
    try:
        place = Place.read(text)
    except ValueError as error:
        raise BadCursor(f"{name} {text[:50]!r} is no cursor of log lines: {error}.") from None
    if not await request.system.log_stream.exists(place):
        raise BadCursor(f"{name} {text[:50]!r} lies in the future.")
    return place


async def _over(
    request: Request, held: Held[Any], execution: str, only: LogFilter, place: Place
) -> bool:
    if not (held.state.final and await request.system.runner.wait("logs", held.position, AGAIN)):
        return False
    async with aclosing(request.system.log_stream.pages(execution, only, place)) as pages:
        return await anext(pages, None) is None


async def _followed(
    request: Request, source: EventSource, execution: str, only: LogFilter, place: Place
) -> AsyncGenerator[bytes]:
    """While the database is away it waits for it: the cursor is here."""
    caught_up = False
    while not source.closing:
        try:
            async with request.system.log_news.of(execution, source.wake) as follower:
                while not source.closing:
                    ended = follower.noted and await _ended(request, follower, execution)
                    async with aclosing(
                        request.system.log_stream.pages(execution, only, place)
                    ) as pages:
                        async for page in pages:
                            place = page[-1].place
                            yield _frames(page)
                    if not caught_up:
                        yield control("caught-up", place)
                        caught_up = True
                    if ended:
                        return
                    if not await source.wake.wait(AGAIN if follower.noted else UNWOKEN):
                        follower.noted = True
        except Overloaded:
            await source.wake.wait(AGAIN)


async def _ended(request: Request, follower: Follower, execution: str) -> bool:
    """Whether the execution has ended, and the server has noted it: asked before the lines are read.

    What is noted later asks again.
    """
    follower.noted = False
    held = await request.system.hub.loader.state(f"execution/{execution}")
    if held is None or not held.state.final:
        return False
    if await request.system.runner.wait("logs", held.position, AGAIN):
        return True
    follower.noted = True
    return False


def _frames(page: list[Recorded]) -> bytes:
    return b"".join(frame("log", plain_json(line), place) for place, line in page)
