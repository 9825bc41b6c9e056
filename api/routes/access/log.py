"""The access log of an execution, and the trail of events and reads."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from starlette.types import ASGIApp

from api.access.identity import Caller
from api.access.rights import Right
from api.access.visibility import Visibility
from api.client.ids import parse_id
from api.documents import schemas
from api.web import responses
from api.web.operation import Operation, Parameter
from api.web.parameters import CURSOR, FRESH, LIMIT, parse_time_parameter
from api.web.reads.consistency import Consistency
from api.web.request import Request
from domain.access.retirements import STREAM as RETIREMENTS
from domain.access.retirements import AccessRetirements
from domain.errors import Invalid, NotFound
from domain.eventlog.access.entry import AccessEntry
from domain.eventlog.store import Store
from domain.json_forms import format_time
from projections.audit.access.pages import (
    AccessCursor,
    AccessPage,
    AccessRange,
    Item,
    access_page,
    trail_page,
)
from projections.representations.access import access_document
from projections.representations.client_json import plain_json

NARROWED_BY = ("execution", "action", "from", "to")
TIME = {"type": "string", "format": "date-time"}
TEXT = {"type": "string"}
ACTOR = Parameter("actor", "Only events and reads of this actor, by name")
SINCE = Parameter("from", "From this time on", TIME)
UNTIL = Parameter("to", "Before this time", TIME)
ORDER = Parameter("order", "Oldest or newest first", {"type": "string", "enum": ["asc", "desc"]})
ACTION = Parameter(
    "action",
    "Only these, comma-separated: types of events, such as `execution.failed`, and names of operations, such as "
    "`readExecution`; by default all reads, and the events that change the status",
)
EXECUTION = Parameter("execution", "Only of this one; required of a caller that does not see all")
ACCESS = {
    "type": "object",
    "required": ["id", "time", "actor", "operation", "executions", "hash"],
    "properties": {
        "kind": {"const": "access"},
        "action": TEXT,
        "id": {"type": "integer", "minimum": 1},
        "time": TIME,
        "actor": TEXT,
        "operation": TEXT,
        "executions": {"type": "array", "items": TEXT},
        "address": TEXT,
        "purpose": TEXT,
        "correlation": TEXT,
        "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "credential": TEXT,
        "asked": {"type": "object"},
    },
    "additionalProperties": False,
}
FROM = {
    **TIME,
    "description": "From this time on all reads are there. Earlier days were retired, except those on hold",
}
CHANGE = {
    "type": "object",
    "required": ["kind", "action", "time", "actor", "executions", "position", "version"],
    "properties": {
        "kind": {"const": "event"},
        "action": TEXT,
        "time": TIME,
        "actor": TEXT,
        "executions": {"type": "array", "items": TEXT},
        "correlation": TEXT,
        "position": {"type": "integer", "minimum": 1},
        "version": {"type": "integer", "minimum": 1},
    },
    "additionalProperties": False,
}


class AccessLogHandlers:
    """Handles the operations of the access log."""

    def __init__(self, store: Store, visibility: Visibility, consistency: Consistency) -> None:
        self._store = store
        self._visibility = visibility
        self._consistency = consistency

    async def of_execution(self, request: Request) -> ASGIApp:
        """A page of the access log of one execution.

        Raises:
            NotFound: there is no such execution.
        """
        execution = request.path["id"]
        position = await self._consistency.wait_for_log(request)
        if not await self._store.history(f"execution/{execution}", limit=1):
            raise NotFound.of("execution")
        asked, (cursor, limit, descending) = _range(request, execution), _part(request)
        async with self._store.searcher(request.find_unused(("from", "to"))) as connection:
            page = await access_page(connection, asked, cursor, limit, descending=descending)
        return _answer(request.caller, page, position, execution, since=await self._since())

    async def trail(self, request: Request) -> ASGIApp:
        """A page of the trail of events and reads.

        Raises:
            Invalid: no execution is named, and the caller may not see all.
            NotFound: there is no such execution in the caller's scope.
        """
        execution = request.non_empty("execution")
        if execution is None and not request.caller.scope.is_unlimited(Right.READ_ACCESS):
            raise Invalid.field("execution", "is required: the id of an execution of yours")
        if execution is not None:
            await self._require(request.caller, parse_id(execution, "execution"))
            request.shown.append(execution)
        position = await self._consistency.wait_for_log(request)
        actions = tuple(each for each in (request.non_empty("action") or "").split(",") if each)
        asked = _range(request, execution)._replace(actions=actions)
        cursor, limit, descending = _part(request)
        async with self._store.searcher(request.find_unused(NARROWED_BY)) as connection:
            page = await trail_page(connection, asked, cursor, limit, descending=descending)
        if execution is None:
            request.shown += {each for item in page.items for each in _executions(item)}
        since = await self._since()
        return _answer(request.caller, page, position, execution, kinds=True, since=since)

    async def _since(self) -> datetime | None:
        """The time from which on all reads are in the log; None where none was retired."""
        versioned = await self._store.load(RETIREMENTS)
        state: AccessRetirements | None = versioned and versioned.state
        if state is None:
            return None
        return datetime.combine(state.last_day + timedelta(days=1), time(), UTC)

    async def _require(self, caller: Caller, execution: str) -> None:
        stream = f"execution/{execution}"
        await self._visibility.require(caller, Right.READ_ACCESS, stream)
        if not await self._store.history(stream, limit=1):
            raise NotFound.of("execution")


def _range(request: Request, execution: str | None) -> AccessRange:
    since, until = request.non_empty("from"), request.non_empty("to")
    return AccessRange(
        execution,
        request.non_empty("actor"),
        since=None if since is None else parse_time_parameter("from", since),
        until=None if until is None else parse_time_parameter("to", until),
    )


def _part(request: Request) -> tuple[AccessCursor, int, bool]:
    descending = request.choice("order", "asc", "desc") == "desc"
    cursor = AccessCursor.read(request.non_empty("cursor"), descending=descending)
    return cursor, request.integer("limit", 1, 500) or 50, descending


def _answer(
    caller: Caller,
    page: AccessPage,
    position: int,
    execution: str | None,
    *,
    kinds: bool = False,
    since: datetime | None,
) -> ASGIApp:
    shown = [plain_json(_document(caller, item, execution, kinds=kinds)) for item in page.items]
    headers = {"log-position": str(position), "cache-control": "no-store", **responses.VARY}
    more = {} if since is None else {"accessesFrom": format_time(since)}
    return responses.json(responses.page(shown, page.next_cursor, members=more), headers)


def _document(caller: Caller, item: Item, execution: str | None, *, kinds: bool) -> dict[str, Any]:
    if isinstance(item, AccessEntry):
        unlimited = caller.scope.is_unlimited(Right.READ_ACCESS)
        shown = access_document(
            item,
            only=None if unlimited else execution,
            whole=unlimited or item.access.actor == caller.name,
        )
        return {"kind": "access", "action": item.access.operation, **shown} if kinds else shown
    correlation = item.meta.get("correlation")
    return {
        "kind": "event",
        "action": item.type,
        "time": format_time(item.at),
        "actor": item.meta["by"],
        "executions": _executions(item),
        **({} if correlation is None else {"correlation": correlation}),
        "position": item.position,
        "version": item.version,
    }


def _executions(item: Item) -> list[str]:
    if isinstance(item, AccessEntry):
        return list(item.access.executions)
    kind, _, identity = item.stream.partition("/")
    return [identity] if kind == "execution" else []


def routes(handlers: AccessLogHandlers) -> tuple[Operation, ...]:
    """The rows."""
    return (
        Operation(
            "readAccessLog",
            "GET",
            "/executions/{id}/access-log",
            Right.READ_ACCESS,
            "Who read the execution: when, what of it, from where, what for",
            handlers.of_execution,
            answer=schemas.page_of(ACCESS, accessesFrom=FROM),
            parameters=(ACTOR, SINCE, UNTIL, ORDER, LIMIT, CURSOR, *FRESH),
            sends=responses.AS_OF,
            problems=("too-expensive",),
        ),
        Operation(
            "readTrail",
            "GET",
            "/audit/trail",
            Right.READ_ACCESS,
            "What changed the status of executions and who read them, in one order",
            handlers.trail,
            answer=schemas.page_of({"anyOf": [ACCESS, CHANGE]}, accessesFrom=FROM),
            parameters=(EXECUTION, ACTOR, ACTION, SINCE, UNTIL, ORDER, LIMIT, CURSOR, *FRESH),
            sends=responses.AS_OF,
            problems=("not-found", "too-expensive"),
        ),
    )
