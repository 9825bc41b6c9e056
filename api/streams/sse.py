"""Streams over HTTP: server-sent events."""

from __future__ import annotations

import random

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.operations import Call
from api.streams.forms import FORMS, SSE
from api.streams.groups import Topic
from api.streams.hub import Hub
from api.streams.lines import line_of
from api.streams.request import Wanted, of_execution, of_log
from api.streams.words import EVENTS, WATCH, Words
from domain.errors import DomainError, Overloaded

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
FULL = "There are as many streams here as there may be. Come back a little later."


class NotAcceptable(DomainError):
    """This is a stream: ask for it with `Accept: text/event-stream`, or over a WebSocket."""

    code = "not-acceptable"


def wanted(call: Call) -> bool:
    """Whether the client asked for server-sent events."""
    return "text/event-stream" in (call.header("accept") or "")


async def events_of_log(call: Call) -> ASGIApp:
    """Every event there is, and what comes."""
    return await _log(call, EVENTS)


async def watch_log(call: Call) -> ASGIApp:
    """All executions, in the words of those who watch."""
    return await _log(call, WATCH)


async def events_of_execution(call: Call) -> ASGIApp:
    """The events of one execution, and what comes."""
    return await _execution(call, EVENTS)


async def watch_execution(call: Call) -> ASGIApp:
    """One execution, in the words of those who watch."""
    return await _execution(call, WATCH)


async def _log(call: Call, words: Words) -> ASGIApp:
    if (refusal := _refusal(call)) is not None:
        return refusal
    return EventStream(call.system.hub, await of_log(call, words))


async def _execution(call: Call, words: Words) -> ASGIApp:
    if (refusal := _refusal(call)) is not None:
        return refusal
    asked = await of_execution(call, words)
    if asked.over:
        return Response(status_code=204)
    return EventStream(call.system.hub, asked)


def _refusal(call: Call) -> ASGIApp | None:
    """The answer where there is no place. A browser never tries again after a 503, so it gets a
    stream that ends at once and says when to come back.
    """
    if not wanted(call):
        raise NotAcceptable
    if not call.system.hub.full:
        return None
    if not (call.header("user-agent") or "").startswith("Mozilla/"):
        return problems.answer(Overloaded(FULL), call.url)
    later = random.randint(5_000, 15_000)  # noqa: S311 - spreads the reconnects, keeps no secret
    headers = {"cache-control": "no-store"}
    return Response(f"retry: {later}\n\n", 200, headers, "text/event-stream")


class EventStream:
    """An ASGI response: what was asked for, until it ends or the client goes."""

    def __init__(self, hub: Hub, asked: Wanted) -> None:
        self._hub = hub
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        if scope["method"] != "HEAD" and not await self._serve(scope):
            return
        await send({"type": "http.response.body", "body": b""})

    async def _serve(self, scope: Scope) -> bool:
        asked = self._asked
        topic = Topic(FORMS[asked.words, SSE], asked.stream, asked.filter)
        connection = self._hub.connect(line_of(scope), topic, asked.cursor, asked.held)
        connection.pace = asked.pace
        try:
            connection.pump()
            return (await connection.done).code is not None
        finally:
            self._hub.disconnect(connection)
