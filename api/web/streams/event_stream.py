"""Streams over HTTP, as server-sent events."""

from __future__ import annotations

import random
from functools import partial

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.streaming.close_codes import LOCKED_OUT, RESTART
from api.streaming.encoding import SSE
from api.streaming.hub import Hub
from api.streaming.subscriber import Subscriber
from api.transport.protocols import protocol_of
from api.web.access.admitted import Stream
from api.web.negotiation import names, prefers
from api.web.operation import Handler
from api.web.request import Request
from api.web.responses import JSON, VARY
from api.web.streams import admission
from api.web.streams.admission import AdmissionAnswer
from api.web.streams.stream_request import (
    STREAM_OPERATIONS,
    StreamKind,
    StreamQuery,
    StreamRequests,
)
from domain.errors import DomainError, Invalid, Overloaded

MEDIA_TYPE = "text/event-stream"
NO_LOG_LINES = (
    "must not have `log` here: this edge has no log lines, which the server of the log sends itself"
)
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    *((name.encode(), value.encode()) for name, value in VARY.items()),
    (b"x-accel-buffering", b"no"),
]


class NotAcceptable(DomainError):
    """This is a stream: ask for it with `Accept: text/event-stream`, or over a WebSocket."""

    code = "not-acceptable"


def is_preferred(request: Request) -> bool:
    """Whether the client prefers server-sent events to JSON."""
    return prefers(request.header("accept") or "", MEDIA_TYPE, JSON)


class EventStreams:
    """Answers requests for streams as server-sent events."""

    def __init__(self, requests: StreamRequests) -> None:
        self._requests = requests
        self._hub = requests.hub

    def handler(self, operation: str) -> Handler:
        """The handler of one of the `STREAM_OPERATIONS`."""
        return partial(self._open, STREAM_OPERATIONS[operation])

    async def _open(self, kind: StreamKind, request: Request) -> ASGIApp:
        accept = request.header("accept") or ""
        if not names(accept, MEDIA_TYPE):
            raise NotAcceptable
        if names(accept, admission.MEDIA_TYPE):
            return await self._admit(kind, request)
        try:
            asked = await self._requests.admit(request, kind)
        except Overloaded as error:
            return refuse_browser(request, error)
        return over(asked) if asked.over else EventStream(self._hub, asked)

    async def _admit(self, kind: StreamKind, request: Request) -> ASGIApp:
        """Answer an edge that sends the stream itself. The edge counts its own streams, and has no log lines."""
        asked = await self._requests.query(request, kind)
        if asked.filter.logs:
            raise Invalid.field("types", NO_LOG_LINES)
        return AdmissionAnswer(request, asked, self._hub.of_log)


def over(asked: StreamQuery) -> Response:
    """The response to a client that has received all of a stream that has ended: 204."""
    name, value = log_position(asked)
    return Response(status_code=204, headers={name.decode(): value.decode()})


def log_position(asked: StreamQuery) -> tuple[bytes, bytes]:
    """The header with the position of the log when the stream was requested.

    A client of `from=now` that loses the connection before the first frame resumes from this position, so it must not
    be a later one.
    """
    return b"log-position", b"%d" % asked.head


def refuse_browser(request: Request, error: Overloaded) -> ASGIApp:
    """The response to a client whose stream cannot begin now.

    An EventSource does not reconnect after a 503, so it gets a stream that ends at once and says when to reconnect.
    Browsers are recognized by User-Agent, other clients based on `fetch`, as in Node, by Sec-Fetch-Mode.

    Raises:
        Overloaded: the client is no EventSource; it gets a 503.
    """
    agent = request.header("user-agent") or ""
    if not agent.startswith("Mozilla/") and request.header("sec-fetch-mode") is None:
        raise error
    later = random.randint(5_000, 15_000)  # noqa: S311 - spreads the reconnects, need not be secure
    headers = {"cache-control": "no-store", **VARY}
    return Response(f"retry: {later}\n\n", 200, headers, MEDIA_TYPE)


def lock_out(subscriber: Subscriber, reason: str) -> None:
    """End a stream whose caller may not receive it any more; at once where the reason cannot be written."""
    if subscriber.transport.paused:
        subscriber.cut(LOCKED_OUT)
    else:
        subscriber.end(LOCKED_OUT, reason)


class EventStream(Stream):
    """The response with a stream of the hub, until the stream ends or the client disconnects."""

    def __init__(self, hub: Hub, asked: StreamQuery) -> None:
        self._hub = hub
        self._asked = asked
        self.cursor = asked.cursor
        """The cursor at which the stream begins; once it has ended, the last cursor that was sent."""
        self._subscriber: Subscriber | None = None

    @property
    def full(self) -> bool:
        """Whether there is no room for another stream."""
        return self._hub.full

    def say_goodbye(self) -> None:
        """End the stream and ask the client to reconnect, as its grants have changed."""
        if self._subscriber is not None:
            self._subscriber.end(RESTART, "grant-ended")

    def come_back(self) -> None:
        """End the stream and ask the client to reconnect, so that it is authorized again."""
        if self._subscriber is not None:
            self._subscriber.end(RESTART)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*HEADERS, log_position(self._asked)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD" and not await self._serve(scope):
            return
        await send({"type": "http.response.body", "body": b""})

    async def _serve(self, scope: Scope) -> bool:
        subscriber = self._asked.connect(self._hub, protocol_of(scope), SSE)
        self._subscriber = subscriber
        try:
            subscriber.start()
            return (await subscriber.done).code is not None
        finally:
            self.cursor = subscriber.sent
            self._hub.disconnect(subscriber)

    def end_access(self, reason: str) -> None:
        if self._subscriber is not None:
            lock_out(self._subscriber, reason)
