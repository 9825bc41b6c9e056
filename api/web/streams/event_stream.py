"""Streams over HTTP: server-sent events."""

from __future__ import annotations

import random

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.streaming.encoding import ENCODERS, SSE
from api.streaming.frames import EVENTS, WATCH, Format
from api.streaming.hub import Hub
from api.streaming.topic import Topic
from api.transport.protocols import protocol_of
from api.web.negotiation import names, prefers
from api.web.request import Request
from api.web.responses import JSON, VARY
from api.web.streams.stream_request import Ask, StreamQuery, StreamRequests
from domain.errors import DomainError, Overloaded

MEDIA_TYPE = "text/event-stream"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    *((name.encode(), value.encode()) for name, value in VARY.items()),
    (b"x-accel-buffering", b"no"),
]


class NotAcceptable(DomainError):
    """This is a stream: ask for it with `Accept: text/event-stream`, or over a WebSocket."""

    code = "not-acceptable"


def preferred(request: Request) -> bool:
    """Whether the client would rather have server-sent events than JSON."""
    return prefers(request.header("accept") or "", MEDIA_TYPE, JSON)


class EventStreams:
    """Answers requests for streams as server-sent events."""

    def __init__(self, requests: StreamRequests) -> None:
        self._requests = requests
        self._hub = requests.hub

    async def events_of_log(self, request: Request) -> ASGIApp:
        """Every event there is, and what comes."""
        return await self._open(request, StreamRequests.of_log, EVENTS)

    async def watch_log(self, request: Request) -> ASGIApp:
        """All executions, in the words of those who watch."""
        return await self._open(request, StreamRequests.of_executions, WATCH)

    async def events_of_execution(self, request: Request) -> ASGIApp:
        """The events of one execution, and what comes."""
        return await self._open(request, StreamRequests.of_execution, EVENTS)

    async def watch_execution(self, request: Request) -> ASGIApp:
        """One execution, in the words of those who watch."""
        return await self._open(request, StreamRequests.of_execution, WATCH)

    async def _open(self, request: Request, ask: Ask, format_: Format) -> ASGIApp:
        if not names(request.header("accept") or "", MEDIA_TYPE):
            raise NotAcceptable
        try:
            asked = await self._requests.admitted(request, ask, format_)
        except Overloaded as error:
            return sent_away(request, error)
        if asked.over:
            name, value = log_position(self._hub)
            return Response(status_code=204, headers={name.decode(): value.decode()})
        return EventStream(self._hub, asked)


def log_position(hub: Hub) -> tuple[bytes, bytes]:
    """How far the log goes that is told from the past; what comes later comes live."""
    return b"log-position", b"%d" % hub.position


def sent_away(request: Request, error: Overloaded) -> ASGIApp:
    """The answer to a client whose stream cannot begin now.

    Raises:
        Overloaded: the client is no EventSource, so it gets a 503.
    """
    if _may_be_event_source(request):
        return _later()
    raise error


def _later() -> ASGIApp:
    """A stream that ends at once and says when to come back: an EventSource never tries again after
    a 503.
    """
    later = random.randint(5_000, 15_000)  # noqa: S311 - spreads the reconnects, keeps no secret
    headers = {"cache-control": "no-store", **VARY}
    return Response(f"retry: {later}\n\n", 200, headers, MEDIA_TYPE)


def _may_be_event_source(request: Request) -> bool:
    """Browsers say who they are; what stands on `fetch` elsewhere, as in Node, says how it asks."""
    agent = request.header("user-agent") or ""
    return agent.startswith("Mozilla/") or request.header("sec-fetch-mode") is not None


class EventStream:
    """An ASGI response: what was asked for, until it ends or the client goes."""

    def __init__(self, hub: Hub, asked: StreamQuery) -> None:
        self._hub = hub
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*HEADERS, log_position(self._hub)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD" and not await self._serve(scope):
            return
        await send({"type": "http.response.body", "body": b""})

    async def _serve(self, scope: Scope) -> bool:
        asked = self._asked
        topic = Topic(ENCODERS[asked.format, SSE], asked.stream, asked.filter)
        subscriber = self._hub.connect(protocol_of(scope), topic, asked.cursor, asked.versioned)
        subscriber.play(asked.speed)
        try:
            subscriber.start()
            return (await subscriber.done).code is not None
        finally:
            self._hub.disconnect(subscriber)
