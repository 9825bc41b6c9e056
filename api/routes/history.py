"""The past of an execution: as it was, what happened, and what changed between two versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.routes import streams
from api.streams.filters import known_types
from api.web import event_stream, responses
from api.web.consistency import MIN_POSITION, written
from api.web.operation import Operation, Parameter
from api.web.request import Call
from api.web.stream_request import included
from domain.errors import Invalid, NotFound
from domain.json_forms import parse_time
from domain.model import Held
from projections.representations.execution import document

VERSION = Parameter("version", "As it was at this version", {"type": "integer", "minimum": 1})
AT = Parameter("at", "As it was at this time", {"type": "string", "format": "date-time"})
MOST_WITH_STATES = 100

Shown = Callable[[dict[str, Any], Held[Any]], Awaitable[Any]]


class Seen(NamedTuple):
    """A state, until when its durations count, and how far the data goes.

    `immutable`: it will never be another. `counting`: its durations go on from one read to the next.
    """

    held: Held[Any]
    until: datetime
    position: int
    immutable: bool = False
    counting: bool = False


async def show(call: Call, shown: Shown, *, alone: bool = True, durations: bool = False) -> ASGIApp:
    """What `shown` makes of the document of an execution, now or in the past.

    Not `alone`, it looks at other entries, too: those are as they are now. With `durations` in it
    it changes without a new version until the execution has ended.
    """
    seen = await _seen(call, f"execution/{call.path['id']}")
    held = seen.held
    found = await shown(document(held, seen.until), held)
    if durations and seen.counting and not held.state.final:
        alone = False
    return responses.execution(
        call, found, held, seen.position, immutable=seen.immutable, alone=alone
    )


async def _seen(call: Call, stream: str) -> Seen:
    version, at = call.whole("version", 1, 2**53), call.parameter("at")
    if version is not None and at is not None:
        raise Invalid.field("at", "goes without `version`")
    time = None if at is None else timed("at", at)
    position = await written(call)
    if version is not None:
        held = await call.system.history.at_version(stream, version)
        return Seen(held, held.at, held.position, immutable=True)
    if time is not None:
        return await _at(call, stream, time)
    present = await call.system.store.load(stream)
    if present is None:
        raise NotFound("There is no such execution.")
    until = call.system.clock()
    return Seen(present, until, max(position, present.position), counting=True)


async def _at(call: Call, stream: str, at: datetime) -> Seen:
    """As it was at a time: immutable once nothing that is yet to be recorded can belong to it."""
    _, newest = await call.system.store.head()
    held, now = await call.system.history.at_time(stream, at), call.system.clock()
    return Seen(held, min(at, now), held.position, immutable=at < newest, counting=at > now)


def timed(name: str, text: str) -> datetime:
    """A query parameter that is a time."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise Invalid.field(name, str(error)) from None


async def events(call: Call) -> ASGIApp:
    """The history of one execution: a page of it as JSON, or all of it and what comes as SSE."""
    if event_stream.preferred(call):
        return await event_stream.events_of_execution(call)
    call.only("order", "limit", "cursor", "types", "minPosition", "include")
    order = call.parameter("order") or "asc"
    if order not in {"asc", "desc"}:
        raise Invalid.field("order", "must be asc or desc")
    types = [glob for glob in (call.parameter("types") or "").split(",") if glob]
    known_types(types)
    with_states = included(call)
    position = await written(call)
    page = await call.system.history.events(
        f"execution/{call.path['id']}",
        types=types,
        descending=order == "desc",
        limit=call.whole("limit", 1, MOST_WITH_STATES if with_states else 500) or 50,
        cursor=call.parameter("cursor"),
        with_states=with_states,
    )
    headers = {"log-position": str(position), **responses.VARY}
    return responses.json(responses.page(page.envelopes, page.next_cursor), headers)


async def diff(call: Call) -> ASGIApp:
    """What changed between two versions, and who changed it."""
    first, last = call.whole("from", 1, 2**53), call.whole("to", 1, 2**53)
    if first is None or last is None:
        raise Invalid.field("from" if first is None else "to", "is needed: a version")
    position = await written(call)
    patch = await call.system.history.diff(f"execution/{call.path['id']}", first, last)
    kept = {"cache-control": responses.IMMUTABLE, **responses.VARY}
    headers = {"log-position": str(position), **kept}
    return responses.json(patch, headers, media="application/json-patch+json")


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
        problems=("malformed",),
        fields=True,
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
    ),
)
