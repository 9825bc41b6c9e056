"""The events of several logs as one stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import datetime

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.rights import Right
from api.cells.connection import MEDIA_TYPE
from api.cells.cursor import MOST_LOGS, CellCursor, CellPosition
from api.cells.merged_stream import MergedFrame, MergedStream
from api.routes.cells.asking import CELLS, OF_ONE_LOG, Asking, parameters_to_pass_on
from api.routes.streams import FILTERS, FORMAT, INCLUDE, TYPES
from api.streaming import filter as filters
from api.streaming.hub import Hub
from api.streaming.stream_position import BadCursor
from api.web.negotiation import names
from api.web.operation import Operation, Parameter
from api.web.request import Request
from api.web.streams.event_source import EventSource, control, frame
from api.web.streams.event_stream import NotAcceptable, refuse_browser
from api.web.streams.stream_request import FULL, includes_execution
from domain.errors import Invalid, Overloaded
from domain.json_forms import parse_time

EVENTS = "/api/events"
KIND = "events of cells"
MOST_STREAMS, MOST_CONNECTIONS = 200, 2_000
"""Open streams of a process, and their connections, at most: a stream has a connection to every log."""
NOT_FILTERS = frozenset({"cells", "from", "types", "format", "include", *OF_ONE_LOG})
FROM = Parameter("from", "start, now, a time, or the `id` of a frame: where the stream begins")
GONE = "the map has no such log any more"


class CellStreamHandlers:
    """Handles the operation of the merged stream."""

    def __init__(self, asking: Asking, hub: Hub, clock: Callable[[], datetime]) -> None:
        self._asking = asking
        self._hub = hub
        self._clock = clock

    async def events(self, request: Request) -> ASGIApp:
        """Answer the stream of events that the caller may see in each log, in the order of arrival."""
        if not names(request.header("accept") or "", MEDIA_TYPE):
            raise NotAcceptable
        _require_filter(request)
        cells = self._asking.names(request)
        cursor = self._begin(request, cells)
        if len({*cells, *cursor}) > MOST_LOGS:
            most = (
                f"must be at most {MOST_LOGS} logs for one stream, those of its cursor among them"
            )
            raise Invalid.field("cells", most)
        now = request.header("last-event-id") is None and request.parameter("from") in {None, "now"}
        query = parameters_to_pass_on(request, "from")
        merged = self._asking.merge_streams(request, EVENTS, query, cells, cursor)
        try:
            self._require_room(len(cells))
            await merged.open(now=now)
            return await self._answer(
                request, merged, self._names_gone(request, cursor), len(cells)
            )
        except Overloaded as error:
            return refuse_browser(request, error)

    async def _answer(
        self, request: Request, merged: MergedStream, gone: Iterable[str], logs: int
    ) -> ASGIApp:
        try:
            self._require_room(logs)  # other streams may have begun while this one was opened
        except Overloaded:
            await merged.aclose()
            raise
        if request.method == "HEAD":
            await merged.aclose()
            return Response(media_type=MEDIA_TYPE)
        return CellEventSource(self._hub, merged, gone)

    def _begin(self, request: Request, cells: Iterable[str]) -> CellCursor:
        """The cursor at which the stream begins. A log without a position in it begins at its first event.

        Raises:
            BadCursor: `from` or `Last-Event-ID` is not valid.
        """
        last, wanted = request.header("last-event-id"), request.non_empty("from") or "now"
        if last is not None:
            return _read("Last-Event-ID", last)
        if wanted == "start":
            return CellCursor({})
        if wanted == "now":
            return CellCursor(dict.fromkeys(cells, CellPosition(at=self._clock())))
        if ":" not in wanted:
            return _read("from", wanted)
        try:
            return CellCursor(dict.fromkeys(cells, CellPosition(at=parse_time(wanted))))
        except ValueError as error:
            message = f"must be `start`, `now`, a cursor or a time; as a time it {error}"
            raise BadCursor("from", message) from None

    def _names_gone(self, request: Request, cursor: CellCursor) -> list[str]:
        """The logs in a cursor that cannot be followed, as they are not in the directory any more."""
        if request.parameter("cells") is not None:
            return []
        return [name for name in cursor if not self._asking.is_known(name)]

    def _require_room(self, logs: int) -> None:
        """Raises Overloaded where there is no room for a stream of a number of logs."""
        most = min(MOST_STREAMS, MOST_CONNECTIONS // max(1, logs))
        if self._hub.full or self._hub.external_streams(KIND) >= most:
            raise Overloaded(FULL)


class CellEventSource(EventSource):
    """Sends the frames of a merged stream, until the client disconnects or a log may not be followed any more."""

    def __init__(self, hub: Hub, merged: MergedStream, gone: Iterable[str]) -> None:
        self._merged = merged
        self._gone = gone
        super().__init__(hub, lambda _: self._frames(), kind=KIND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._merged.aclose()

    async def _frames(self) -> AsyncGenerator[bytes]:
        merged = self._merged
        yield control("checkpoint", merged.cursor)
        for name in self._gone:
            yield control("away", merged.cursor, cell=name, reason=GONE)
        merged.start(self.wake.set)
        while not self.closing:
            if data := b"".join(map(_encode, merged.take())):
                yield data
            if merged.over:
                return
            await self.wake.wait()


def _encode(merged: MergedFrame) -> bytes:
    if merged.data:
        return frame(merged.name, merged.data, merged.cursor)
    return control(merged.name, merged.cursor, **merged.about)


def _read(name: str, text: str) -> CellCursor:
    try:
        return CellCursor.read(text)
    except ValueError as error:
        raise BadCursor(name, f"must be the `id` of a frame of this stream, but {error}") from None


def _require_filter(request: Request) -> None:
    """Check the filter and the format before any request is sent. Raises Invalid where no log would accept them."""
    watched = request.choice("format", "watch", "events") == "watch"
    includes_execution(request)
    asked = [item for item in request.query if item[0] not in NOT_FILTERS]
    filters.read(request.parameter("types"), asked, watched=watched)


def routes(handlers: CellStreamHandlers) -> tuple[Operation, ...]:
    """The operation of the stream."""
    return (
        Operation(
            "streamEventsOfCells",
            "GET",
            "/cells/events",
            Right.SELF,  # each log checks the right of the caller
            "The events of several logs as they arrive, from any cursor on (server-sent events)",
            handlers.events,
            answer={"type": "string"},
            media_type=MEDIA_TYPE,
            parameters=(FROM, TYPES, *FILTERS, FORMAT, INCLUDE, CELLS),
            problems=("not-found", "malformed", "not-acceptable", "invalid", "other-log"),
            fields=True,
            long=True,
        ),
    )
