"""The past of an execution: as it was, what happened, and what changed between two versions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.routes import streams
from api.streaming.filter import known_types
from api.web import event_stream, responses
from api.web.consistency import MIN_POSITION, look, written
from api.web.ids import checked_id
from api.web.operation import Operation, Parameter
from api.web.request import Request
from api.web.stream_request import included
from domain.errors import Invalid, NotFound
from domain.eventlog.states import Moment
from domain.execution.state import Step
from domain.json_forms import parse_time
from domain.model import Held
from projections.history.compare import compare as compared
from projections.history.time_travel import existing
from projections.representations.execution import document

VERSION = Parameter("version", "As it was at this version", {"type": "integer", "minimum": 1})
AT = Parameter("at", "As it was at this time", {"type": "string", "format": "date-time"})
MOST_WITH_STATES = 100


class Seen(NamedTuple):
    """A state, until when its durations count, and how far the data goes.

    `moment` is the position or the time it is of, None for now; what else is shown must be of then, too.
    `immutable`: it will never be another. `counting`: its durations go on from one read to the next.
    """

    held: Held[Any]
    until: datetime
    position: int
    moment: Moment | None = None
    immutable: bool = False
    counting: bool = False

    def document(self, steps: Iterable[Step] | None = None) -> dict[str, Any]:
        """The execution as clients see it, with some of its steps or with all."""
        return document(self.held, self.until, steps)


async def read_state(request: Request) -> Seen:
    """The execution of a request: now, or as it was at `?version=` or `?at=`."""
    until = _until(request)
    stream, history = f"execution/{request.path['id']}", request.system.history
    reading = await look(request, lambda: history.read(stream, until))
    held, now = existing(reading, until), request.system.clock()
    if until is None:
        counting = held.state.started_at is not None and not held.state.final
        return Seen(held, now, reading.position, counting=counting)
    if isinstance(until, int):
        return Seen(held, held.at, held.position, held.position, immutable=True)
    # Immutable once nothing that is yet to be recorded can belong to it.
    over, counting = until < reading.at, until > now and not held.state.final
    return Seen(held, min(until, now), held.position, until, immutable=over, counting=counting)


def _until(request: Request) -> int | datetime | None:
    version, at = request.whole("version", 1, 2**53), request.parameter("at")
    if version is not None and at is not None:
        raise Invalid.field("at", "must be left out where `version` is given")
    return version if at is None else timed("at", at)


def answered(
    request: Request,
    seen: Seen,
    shown: Any,
    tag: responses.Tag | None = None,
    *,
    revalidated: bool = True,
) -> ASGIApp:
    """The answer that shows this of what was seen."""
    return responses.read(
        request,
        shown,
        tag or responses.Tag(seen.held.version),
        seen.position,
        immutable=seen.immutable,
        revalidated=revalidated,
    )


def timed(name: str, text: str) -> datetime:
    """A query parameter that is a time."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise Invalid.field(name, str(error)) from None


async def events(request: Request) -> ASGIApp:
    """The history of one execution: a page of it as JSON, or all of it and what comes as SSE."""
    if event_stream.preferred(request):
        return await event_stream.events_of_execution(request)
    request.only("order", "limit", "cursor", "types", "minPosition", "include")
    order = request.parameter("order") or "asc"
    if order not in {"asc", "desc"}:
        raise Invalid.field("order", "must be asc or desc")
    types = [glob for glob in (request.parameter("types") or "").split(",") if glob]
    known_types(types)
    with_states = included(request)
    position = await written(request)
    page = await request.system.history.events(
        f"execution/{request.path['id']}",
        types=types,
        descending=order == "desc",
        limit=request.whole("limit", 1, MOST_WITH_STATES if with_states else 500) or 50,
        cursor=request.parameter("cursor"),
        with_states=with_states,
    )
    headers = {"log-position": str(position), **responses.VARY}
    return responses.json(responses.page(page.envelopes, page.next_cursor), headers)


async def diff(request: Request) -> ASGIApp:
    """What changed between two versions, and who changed it."""
    first, last = request.whole("from", 1, 2**53), request.whole("to", 1, 2**53)
    if first is None or last is None:
        raise Invalid.field("from" if first is None else "to", "is required: a version, from 1")
    position = await written(request)
    patch = await request.system.history.diff(f"execution/{request.path['id']}", first, last)
    kept = {"cache-control": responses.IMMUTABLE, **responses.VARY}
    headers = {"log-position": str(position), **kept}
    return responses.json(patch, headers, media="application/json-patch+json")


async def compare(request: Request) -> ASGIApp:
    """Two executions, or two versions, step by step: where they part, and what they took."""
    name = checked_id(request.parameter("with"), "with")
    version = request.whole("withVersion", 1, 2**53)
    this = await read_state(request)
    try:
        other = existing(await request.system.history.read(f"execution/{name}", version), version)
    except NotFound as error:
        raise NotFound(f"`with`: {error.detail}", **error.members, **{"with": name}) from None
    until = other.at if version is not None else request.system.clock()
    one = this.document()
    await asyncio.sleep(0)  # with thousands of steps each of these takes long
    shown = compared(one, document(other, until))
    counting = this.counting or (version is None and not other.state.final)
    tag = responses.Tag(this.held.version, related={"with": other.version}, counting=counting)
    this = this._replace(immutable=this.immutable and version is not None)
    return answered(request, this, shown, tag, revalidated=not counting)


LIMIT = Parameter("limit", "How many", {"type": "integer", "minimum": 1, "maximum": 500})
EVENTS_LIMIT = LIMIT._replace(
    description=f"How many; with `include=execution` at most {MOST_WITH_STATES}"
)
CURSOR = Parameter("cursor", "`nextCursor` of the page before")
STREAM = {"text/event-stream": {"type": "string"}}
OPERATIONS = (
    Operation(
        "listEvents",
        "GET",
        "/executions/{id}/events",
        Right.READ_EVENTS,
        "The history of an execution; with `Accept: text/event-stream`, and what comes",
        events,
        answer=schemas.page_of({"type": "object"}),
        sends=responses.AS_OF,
        parameters=(
            Parameter("order", "Oldest or newest first", {"enum": ["asc", "desc"]}),
            EVENTS_LIMIT,
            CURSOR,
            streams.TYPES,
            MIN_POSITION,
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
    ),
    Operation(
        "diff",
        "GET",
        "/executions/{id}/diff",
        Right.READ_EXECUTIONS,
        "RFC 6902 patch from one version to a later one, with the cause of each operation",
        diff,
        answer={"type": "array", "items": {"type": "object"}},
        media_type="application/json-patch+json",
        sends=responses.AS_OF,
        parameters=(
            Parameter("from", "The earlier version", VERSION.schema, required=True),
            Parameter("to", "The later version", VERSION.schema, required=True),
            MIN_POSITION,
        ),
        problems=("too-expensive",),
        long=True,
    ),
    Operation(
        "compare",
        "GET",
        "/executions/{id}/compare",
        Right.READ_EXECUTIONS,
        "Two executions step by step: the first divergence, and the differences of what they took",
        compare,
        answer=schemas.COMPARISON,
        sends=responses.PLACED,
        parameters=(
            Parameter("with", "The id of the other execution", required=True),
            VERSION,
            AT,
            Parameter("withVersion", "The other one as it was at this version", VERSION.schema),
            MIN_POSITION,
        ),
        others=responses.NOT_MODIFIED,
        problems=("not-found",),
        long=True,
    ),
)
