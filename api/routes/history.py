"""The past of an execution: its events, differences between two versions, and comparisons of two executions."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp

from api.access.rights import Right
from api.access.visibility import Visibility
from api.client.ids import parse_id
from api.documents import schemas
from api.routes import streams
from api.streaming.filter import require_types
from api.web import responses
from api.web.operation import Operation, Parameter
from api.web.parameters import AT, CURSOR, FRESH, LIMIT, VERSION
from api.web.reads.consistency import Consistency
from api.web.reads.state_reader import StateReader, state_response
from api.web.request import Request
from api.web.streams import event_stream
from api.web.streams.event_stream import EventStreams
from api.web.streams.stream_request import includes_execution
from domain.errors import Invalid, NotFound
from domain.eventlog.store import Store
from projections.history.compare import compare as compared
from projections.history.time_travel import EventPage, History, existing
from projections.representations.execution import document

MOST_WITH_STATES = 100
EVENTS_LIMIT = LIMIT._replace(
    description=f"The number of events; with `include=execution` at most {MOST_WITH_STATES}"
)
STREAM = {"text/event-stream": {"type": "string"}}


class HistoryHandlers:
    """Handles the operations of the history."""

    def __init__(
        self,
        history: History,
        reader: StateReader,
        consistency: Consistency,
        streams: EventStreams,
        visibility: Visibility,
    ) -> None:
        self._history = history
        self._reader = reader
        self._consistency = consistency
        self._visibility = visibility
        self._stream = streams.handler("listEvents")

    async def events(self, request: Request) -> ASGIApp:
        """Answer the events of an execution: a page as JSON, or as a stream all of them and those that follow."""
        if event_stream.is_preferred(request):
            return await self._stream(request)
        request.only("order", "limit", "cursor", "types", "minPosition", "log", "include")
        order = request.choice("order", "asc", "desc")
        types = [glob for glob in (request.parameter("types") or "").split(",") if glob]
        require_types(types, of_executions=True)
        with_states = includes_execution(request)
        limit = request.integer("limit", 1, MOST_WITH_STATES if with_states else 500) or 50
        cursor = request.parameter("cursor")

        async def read(store: Store, until: int) -> EventPage:
            return await History(store).events(
                f"execution/{request.path['id']}",
                types=types,
                descending=order == "desc",
                limit=limit,
                cursor=cursor,
                with_states=with_states,
                until=until,
            )

        position, page = await self._consistency.of_log(request, read)
        headers = {"log-position": str(position), **responses.VARY}
        return responses.json(responses.page(page.envelopes, page.next_cursor), headers)

    async def diff(self, request: Request) -> ASGIApp:
        """Answer the changes between two versions, with their causes."""
        first, last = request.integer("from", 1, 2**53), request.integer("to", 1, 2**53)
        if first is None or last is None:
            raise Invalid.field("from" if first is None else "to", "is required: a version, from 1")
        position = await self._consistency.wait_for_log(request)
        patch = await self._history.diff(f"execution/{request.path['id']}", first, last)
        caching = {"cache-control": responses.IMMUTABLE, **responses.VARY}
        headers = {"log-position": str(position), **caching}
        return responses.json(patch, headers, media="application/json-patch+json")

    async def compare(self, request: Request) -> ASGIApp:
        """Compare two executions, or two versions, step by step: the first divergence, and the differences in usage."""
        wanted = request.parameter("with")
        if wanted is None:
            raise Invalid.field("with", "is required: the id of the other execution")
        name = parse_id(wanted, "with")
        version = request.integer("withVersion", 1, 2**53)
        this = await self._reader.read(request)
        try:
            await self._visibility.require(
                request.caller, Right.READ_EXECUTIONS, f"execution/{name}"
            )
            other = existing(await self._history.read(f"execution/{name}", version), version)
        except NotFound as error:
            raise NotFound(f"`with`: {error.detail}", **error.members, **{"with": name}) from None
        request.shown.append(name)
        until = other.at if version is not None else self._reader.clock()
        this_document = this.document()
        await asyncio.sleep(0)  # with thousands of steps each document takes long
        shown = compared(this_document, document(other, until))
        counting = this.counting or (version is None and not other.state.final)
        tag = responses.Tag(
            this.versioned.version, related={"with": other.version}, counting=counting
        )
        this = this._replace(immutable=this.immutable and version is not None)
        return state_response(request, this, shown, tag, revalidated=not counting)


def routes(handlers: HistoryHandlers) -> tuple[Operation, ...]:
    """The operations of the history of an execution."""
    return (_events(handlers), _diff(handlers), _compare(handlers))


def _events(handlers: HistoryHandlers) -> Operation:
    return Operation(
        "listEvents",
        "GET",
        "/executions/{id}/events",
        Right.READ_EVENTS,
        "The events of an execution; with `Accept: text/event-stream`, also those that follow",
        handlers.events,
        answer=schemas.page_of({"type": "object"}),
        sends=responses.AS_OF,
        parameters=(
            Parameter("order", "Oldest or newest first", {"enum": ["asc", "desc"]}),
            EVENTS_LIMIT,
            CURSOR,
            streams.TYPES,
            *FRESH,
            streams.FROM,
            streams.SPEED,
            streams.FORMAT,
            streams.INCLUDE,
        ),
        answer_forms=STREAM,
        others={204: "The stream has ended, and this client has all of it"},
        problems=("malformed", "too-expensive"),
        fields=True,
        long=True,
    )


def _diff(handlers: HistoryHandlers) -> Operation:
    return Operation(
        "diff",
        "GET",
        "/executions/{id}/diff",
        Right.READ_EXECUTIONS,
        "RFC 6902 patch from one version to a later one, with the cause of each operation",
        handlers.diff,
        answer={"type": "array", "items": {"type": "object"}},
        media_type="application/json-patch+json",
        sends=responses.AS_OF,
        parameters=(
            Parameter("from", "The earlier version", VERSION.schema, required=True),
            Parameter("to", "The later version", VERSION.schema, required=True),
            *FRESH,
        ),
        problems=("too-expensive",),
        long=True,
    )


def _compare(handlers: HistoryHandlers) -> Operation:
    return Operation(
        "compare",
        "GET",
        "/executions/{id}/compare",
        Right.READ_EXECUTIONS,
        "Compare two executions step by step: the first divergence, and the differences in usage",
        handlers.compare,
        answer=schemas.COMPARISON,
        sends=responses.VERSIONED,
        parameters=(
            Parameter("with", "The id of the other execution", required=True),
            VERSION,
            AT,
            Parameter("withVersion", "The version of the other; else the newest", VERSION.schema),
            *FRESH,
        ),
        others=responses.NOT_MODIFIED,
        problems=("not-found",),
        long=True,
    )
