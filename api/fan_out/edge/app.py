"""An edge as an ASGI application: the streams of the server, its health, and the refusal of all other requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.identity import ANONYMOUS
from api.access.rights import Right
from api.fan_out.edge.opener import EdgeOpener
from api.fan_out.edge.origin import OriginServer
from api.fan_out.edge.readiness import Readiness
from api.problems.refusals import refusal
from api.routes import streams
from api.telemetry.metrics import REQUESTS
from api.web.access.answer_headers import AnswerHeaders
from api.web.negotiation import names
from api.web.operation import Handler, Operation
from api.web.request import Request
from api.web.responses import json
from api.web.routing import with_prefix
from api.web.streams import event_stream, websocket
from api.web.streams.event_stream import EventStream, NotAcceptable
from domain.errors import DomainError, Overloaded
from domain.supervisor import ProcessPart, run_parts

READS = {"GET", "HEAD"}
HISTORY = "listEvents"


class StreamsOnly(DomainError):
    """This is an edge, which only sends streams: send this request to the server of the log."""

    code = "streams-only"


class EdgeStreams:
    """Answers requests for streams as server-sent events."""

    def __init__(self, opener: EdgeOpener, origin: OriginServer) -> None:
        self._opener = opener
        self._origin = origin
        summary, path = "What happens to an execution", "/executions/{id}/events"
        history = Operation(
            HISTORY, "GET", path, Right.READ_EVENTS, summary, self.handler(HISTORY), fields=True
        )
        self.rows = (*streams.routes(self), history)
        """The stream operations of the server, including the events of one execution."""
        self._by_name = {row.name: row for row in self.rows}

    def handler(self, operation: str) -> Handler:
        """The handler of one of the `STREAM_OPERATIONS`."""
        return partial(self._open, operation)

    async def _open(self, name: str, request: Request) -> ASGIApp:
        if not names(request.header("accept") or "", event_stream.MEDIA_TYPE):
            if name == HISTORY:
                raise StreamsOnly(url=self._origin.url + request.url)
            raise NotAcceptable
        operation = self._by_name[name]
        shown = request.headers.get(b"authorization")
        try:
            admitted, asked = await self._opener.open(operation, request.scope, shown)
        except Overloaded as error:
            return event_stream.refuse_browser(request, error)
        if asked.over:
            return event_stream.over(asked)
        request.scope["state"]["caller"] = admitted.caller
        return EventStream(self._opener.hub, asked)


class EdgeEndpoint:
    """The ASGI application of one path. A stream is ended with the credential of its caller."""

    def __init__(self, opener: EdgeOpener, operation: Operation, refuse: ASGIApp) -> None:
        self._opener = opener
        self._operation = operation
        self._refuse = refuse
        self._count = REQUESTS.labels(operation.name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in READS:
            await self._refuse(scope, receive, send)
            return
        self._count.inc()
        try:
            response = await self._operation.handler(Request(scope, ANONYMOUS))
        except Exception as error:  # noqa: BLE001 - every error is answered
            response = refusal(error, scope)
        if isinstance(response, EventStream):
            await self._serve(response, scope, receive, send)
        else:
            await response(scope, receive, send)

    async def _serve(
        self, response: EventStream, scope: Scope, receive: Receive, send: Send
    ) -> None:
        caller, opener = scope["state"]["caller"], self._opener
        with opener.open_requests.of(caller, response.end_access):
            async with opener.while_granted(caller, response.come_back):
                await response(scope, receive, send)


class EdgeHealth:
    """The operations for the health, the readiness and the metrics of an edge."""

    def __init__(self, readiness: Readiness, origin: OriginServer) -> None:
        self._readiness = readiness
        self._origin = origin

    async def alive(self, _: Request) -> ASGIApp:
        return json({"status": "ok"})

    async def ready(self, _: Request) -> ASGIApp:
        shown = self._readiness.document()
        if shown["status"] == "ready":
            return json(shown)
        return json(shown, {"retry-after": "1"}, 503)

    async def metrics(self, request: Request) -> ASGIApp:
        shown = request.headers.get(b"authorization")
        await self._origin.require(Right.OPERATE, request.scope, shown)
        return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})

    def rows(self) -> Sequence[Operation]:
        """The operations."""
        return (
            Operation("health", "GET", "/healthz", Right.OPEN, "", self.alive),
            Operation("readiness", "GET", "/readyz", Right.OPEN, "", self.ready),
            Operation("metrics", "GET", "/metrics", Right.OPERATE, "", self.metrics),
        )


def create_app(
    opener: EdgeOpener,
    origin: OriginServer,
    readiness: Readiness,
    parts: Sequence[ProcessPart],
    allowed: frozenset[str],
) -> ASGIApp:
    """Make the application, each path with and without `/api`; the parts run while it does."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with run_parts(parts):
            yield

    refuse = partial(_refuse, origin.url)
    rows = EdgeStreams(opener, origin).rows
    routes: list[BaseRoute] = [
        Route(row.path, EdgeEndpoint(opener, row, refuse))
        for row in (*rows, *EdgeHealth(readiness, origin).rows())
    ]
    router = Router(
        [*routes, *websocket.routes(opener, rows)],
        redirect_slashes=False,
        default=refuse,
        lifespan=lifespan,
    )
    return AnswerHeaders(with_prefix(router), allowed)


async def _refuse(url: str, scope: Scope, receive: Receive, send: Send) -> None:
    await refusal(StreamsOnly(url=url + scope["path"]), scope)(scope, receive, send)
