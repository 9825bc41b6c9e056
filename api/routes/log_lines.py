"""Log lines of executions: telemetry beside the events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, get_args

from pydantic import Field, TypeAdapter
from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.routes.log_streams import LogLineStreams
from api.web import responses
from api.web.body import MIB
from api.web.input.command_body import encoded, parsed, parsed_json
from api.web.input.command_members import without_nulls
from api.web.operation import Operation, Parameter
from api.web.parameters import CURSOR, LIMIT, MIN_POSITION, parsed_time
from api.web.reads.consistency import Consistency
from api.web.request import Request
from api.web.streams import event_stream
from domain.errors import Invalid, NotFound, VersionMismatch
from domain.eventlog.codec import plain_json
from domain.eventlog.store import Store
from domain.json_forms import format_time
from projections.log_lines.model import Level, LogLine
from projections.log_lines.reader import LogFilter, LogLineStore

MOST_LINES = 1_000
CLOCKS_DIFFER = timedelta(minutes=1)
"""How far ahead of ours a worker's clock may be."""
LEVELS: tuple[Level, ...] = get_args(Level)
MANY = TypeAdapter(Annotated[list[LogLine], Field(min_length=1, max_length=MOST_LINES)])
SHOWN = {"$ref": "#/components/schemas/ShownLog"}
APPENDED = {
    "type": "object",
    "required": ["appended"],
    "properties": {"appended": {"type": "integer", "minimum": 1, "maximum": MOST_LINES}},
    "additionalProperties": False,
}


class LineWriter:
    """Keeps log lines that clients send."""

    def __init__(self, logs: LogLineStore, store: Store, clock: Callable[[], datetime]) -> None:
        self._logs = logs
        self._store = store
        self._clock = clock

    async def write(
        self,
        request: Request,
        execution: str,
        lines: Sequence[LogLine],
        part: str = "",
        if_match: tuple[int, ...] | None = None,
    ) -> bool:
        """Keep lines, once under the request's key, if it has one; whether that was done before.

        Raises:
            NotFound: there is no such execution.
            Invalid: a line is of the future.
            VersionMismatch: the execution is at none of the versions that are expected.
        """
        now = self._clock()
        for place, line in enumerate(lines):
            if line.when is not None and line.when - now > CLOCKS_DIFFER:
                path = f"{place}.timestamp" if len(lines) > 1 else "timestamp"
                raise Invalid.field(
                    path,
                    f"must not lie in the future, but is `{format_time(line.when)}`",
                )
        if if_match is not None:
            await self._require(execution, if_match)
        if b"idempotency-key" in request.headers:
            return await self._logs.append_once(execution, lines, now, request.idempotency(part))
        await self._logs.append(execution, lines, now)
        return False

    async def _require(self, execution: str, versions: tuple[int, ...]) -> None:
        versioned = await self._store.load(f"execution/{execution}")
        if versioned is None:
            raise NotFound
        if versioned.version not in versions:
            raise VersionMismatch(version=versioned.version)


class LogLineHandlers:
    """Takes log lines, and answers them as pages or as a stream."""

    def __init__(
        self,
        writer: LineWriter,
        logs: LogLineStore,
        store: Store,
        consistency: Consistency,
        streams: LogLineStreams,
    ) -> None:
        self._writer = writer
        self._logs = logs
        self._store = store
        self._consistency = consistency
        self._streams = streams

    async def append(self, request: Request) -> ASGIApp:
        """Keep one line, or a list of them."""
        given = parsed_json(request.body)
        if isinstance(given, list):
            for part in given:
                if isinstance(part, dict):
                    without_nulls(LogLine, part)
            lines = MANY.validate_json(encoded(given))
        else:
            lines = [parsed(LogLine, request.body)]
        replayed = await self._writer.write(
            request, request.path["id"], lines, if_match=request.if_match
        )
        headers = {"idempotency-replayed": "true"} if replayed else {}
        return responses.json({"appended": len(lines)}, headers)

    async def read(self, request: Request) -> ASGIApp:
        """The lines of an execution, its own and the server's: a page of them by the time they are of, or
        as a stream in the order in which they were recorded.
        """
        streaming = event_stream.preferred(request)
        request.only(
            *FILTERS, *(("from",) if streaming else ("order", "limit", "cursor", "minPosition"))
        )
        only = _filter(request)
        if streaming:
            return await self._streams.follow(request, only)
        order = request.choice("order", "asc", "desc")
        if (versioned := await self._store.load(f"execution/{request.path['id']}")) is None:
            raise NotFound("There is no such execution.")
        await self._consistency.wait_for_projection(request, "logs")
        await self._consistency.wait_for_log_lines(versioned)
        position = self._consistency.position("logs")
        page = await self._logs.read(
            request.path["id"],
            only,
            descending=order == "desc",
            limit=request.integer("limit", 1, 500) or 50,
            cursor=request.parameter("cursor"),
        )
        items = [plain_json(line) for line in page.data]
        headers = {"log-position": str(position), **responses.VARY}
        return responses.json(responses.page(items, page.next_cursor), headers)


def _filter(request: Request) -> LogFilter:
    asked = [level for level in (request.parameter("level") or "").split(",") if level]
    levels = [level for level in LEVELS if level in asked]
    if unknown := set(asked) - set(LEVELS):
        raise Invalid.field(
            "level", f"must be one or more of {', '.join(LEVELS)}, but has `{min(unknown)[:100]}`"
        )
    since, until = request.parameter("since"), request.parameter("until")
    return LogFilter(
        levels,
        request.parameter("step"),
        None if since is None else parsed_time("since", since),
        None if until is None else parsed_time("until", until),
    )


TIME = {"type": "string", "format": "date-time"}
FILTERS = ("level", "step", "since", "until")
FROM = Parameter(
    "from", "Of the stream: start, now, a cursor, or a time of recording: where it begins"
)
PARAMETERS = (
    FROM,
    Parameter("level", "debug, info, warn or error; several comma-separated"),
    Parameter("step", "Only lines of this step"),
    Parameter("since", "From this time on", TIME),
    Parameter("until", "Before this time", TIME),
    Parameter("order", "Oldest or newest first", {"type": "string", "enum": ["asc", "desc"]}),
    LIMIT,
    CURSOR,
    MIN_POSITION,
)
LINE = {"$ref": "#/components/schemas/LogLine"}
LINES = {"type": "array", "items": LINE, "minItems": 1, "maxItems": MOST_LINES}


def routes(handlers: LogLineHandlers) -> tuple[Operation, ...]:
    """The rows of the log lines of an execution."""
    return (
        Operation(
            "log",
            "POST",
            "/executions/{id}/logs",
            Right.COMMAND_EXECUTIONS,
            f"Keep a log line, or a list of at most {MOST_LINES}",
            handlers.append,
            body=LogLine,
            body_forms={"application/json": {"anyOf": [LINE, LINES]}},
            answer=APPENDED,
            body_limit=16 * MIB,
            problems=("not-found", "idempotency-key-reused", "version-mismatch"),
            sends=("Idempotency-Replayed",),
        ),
        Operation(
            "readLogs",
            "GET",
            "/executions/{id}/logs",
            Right.READ_EXECUTIONS,
            "The log lines of an execution",
            handlers.read,
            answer=schemas.page_of(SHOWN),
            answer_forms={"text/event-stream": {"type": "string"}},
            problems=("not-found", "malformed"),
            others={204: "The stream is over: the execution has ended, and all was sent"},
            sends=responses.AS_OF,
            parameters=PARAMETERS,
        ),
    )
