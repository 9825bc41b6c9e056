"""The log lines of executions, which are telemetry beside the events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, get_args

from pydantic import Field, TypeAdapter
from starlette.responses import Response
from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.routes.log_streams import LogLineStreams
from api.web import responses
from api.web.body import MIB
from api.web.input.command_body import encode, parse, parse_json
from api.web.input.command_members import without_nulls
from api.web.operation import Operation, Parameter, PreparedCommand
from api.web.parameters import CURSOR, FRESH, LIMIT, parse_time_parameter
from api.web.reads.consistency import Consistency
from api.web.request import Request
from api.web.streams import event_stream
from domain.damage import report
from domain.errors import Damaged, Invalid, NotFound
from domain.eventlog.store import Store
from domain.execution.commands.log import AppendLogLines, LogLine
from domain.execution.types import LogLevel
from domain.writer.command_bus import Answer, Bus
from projections.log_lines.model import LogFilter
from projections.log_lines.reader import FIRST, SEARCHED, LogLinePages
from projections.representations.client_json import plain_json

MOST_LINES = 1_000
LONGEST_TEXT = 200
LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)
MANY = TypeAdapter(Annotated[list[LogLine], Field(min_length=1, max_length=MOST_LINES)])
SHOWN = {"$ref": "#/components/schemas/ShownLog"}
APPENDED = {
    "type": "object",
    "required": ["appended"],
    "properties": {"appended": {"type": "integer", "minimum": 1, "maximum": MOST_LINES}},
    "additionalProperties": False,
}


class LogLineHandlers:
    """Handles the operations of log lines."""

    def __init__(
        self,
        bus: Bus,
        logs: LogLinePages,
        store: Store,
        consistency: Consistency,
        streams: LogLineStreams,
    ) -> None:
        self._bus = bus
        self._logs = logs
        self._store = store
        self._consistency = consistency
        self._streams = streams

    async def append(self, request: Request) -> ASGIApp:
        """Append a line, or a list of lines."""
        prepared = prepare_lines(request)
        return prepared.respond(await self._bus.send(prepared.message))

    async def read(self, request: Request) -> ASGIApp:
        """Answer the lines of an execution, including those that the server makes: a page in the order of their times,
        or a stream in the order of recording.
        """
        streaming = event_stream.is_preferred(request)
        request.only(
            *FILTERS,
            "log",
            *(("from",) if streaming else OF_PAGES),
        )
        only = _filter(request)
        if streaming:
            return await self._streams.follow(request, only)
        order = request.choice("order", "asc", "desc")
        created = await self._wait(request)
        position = self._consistency.position("logs")
        page = await self._logs.read(
            request.path["id"],
            only,
            descending=order == "desc",
            limit=request.integer("limit", 1, 500) or 50,
            cursor=request.parameter("cursor"),
            archived=request.boolean("archived"),
            created=created,
        )
        items = [plain_json(line) for line in page.data]
        headers = {"log-position": str(position), **responses.VARY}
        return responses.json(responses.page(items, page.next_cursor), headers)

    async def _wait(self, request: Request) -> datetime:
        """Wait until the lines have reached `?minPosition=`. Return the time at which the execution was created;
        `FIRST` where the execution is damaged.
        """
        try:
            versioned = await self._store.load(f"execution/{request.path['id']}")
        except Damaged as error:
            report(error)
            await self._consistency.wait_for_projection(request, "logs")
            return FIRST
        if versioned is None:
            raise NotFound.of("execution")
        await self._consistency.wait_for_projection(request, "logs")
        await self._consistency.wait_for_log_lines(versioned)
        created: datetime = versioned.state.created_at
        return created


def prepare_lines(request: Request) -> PreparedCommand:
    """Prepare the command that appends the line, or the list of lines, in a body."""
    lines = _lines(request.body)
    message = request.message(f"execution/{request.path['id']}", AppendLogLines(lines=lines))

    def respond(answer: Answer) -> Response:
        headers = {"idempotency-replayed": "true"} if answer.replayed else {}
        return responses.json({"appended": len(lines)}, headers)

    return PreparedCommand(message, respond)


def _lines(body: bytes) -> tuple[LogLine, ...]:
    given = parse_json(body)
    if not isinstance(given, list):
        return (parse(LogLine, body),)
    for part in given:
        if isinstance(part, dict):
            without_nulls(LogLine, part)
    return tuple(MANY.validate_json(encode(given)))


def _filter(request: Request) -> LogFilter:
    asked = [level for level in (request.non_empty("level") or "").split(",") if level]
    levels = [level for level in LEVELS if level in asked]
    if unknown := set(asked) - set(LEVELS):
        raise Invalid.field(
            "level", f"must be one or more of {', '.join(LEVELS)}, but has `{min(unknown)[:100]}`"
        )
    since, until = request.parameter("since"), request.parameter("until")
    return LogFilter(
        levels,
        request.non_empty("step"),
        None if since is None else parse_time_parameter("since", since),
        None if until is None else parse_time_parameter("until", until),
        _text(request),
    )


def _text(request: Request) -> str | None:
    text = request.parameter("text")
    if text is not None and not 0 < len(text) <= LONGEST_TEXT:
        raise Invalid.field("text", f"must have 1 to {LONGEST_TEXT} characters")
    return text


TIME = {"type": "string", "format": "date-time"}
FILTERS = ("level", "step", "since", "until")
OF_PAGES = ("text", "archived", "order", "limit", "cursor", "minPosition")
FROM = Parameter(
    "from", "For a stream: start, now, a cursor, or a time of recording, at which it begins"
)
PARAMETERS = (
    FROM,
    Parameter("level", "debug, info, warn or error; several comma-separated"),
    Parameter("step", "Only lines of this step"),
    Parameter("since", "From this time on", TIME),
    Parameter("until", "Before this time", TIME),
    Parameter(
        "text",
        "For pages: only lines whose message has this text, in whichever case. Lines are decrypted one after "
        f"the other: a page ends after {SEARCHED} of them, perhaps with no line and with `nextCursor`",
        {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT},
    ),
    Parameter(
        "archived", "For pages: true for the lines of archived days, too", {"type": "boolean"}
    ),
    Parameter("order", "Oldest or newest first", {"type": "string", "enum": ["asc", "desc"]}),
    LIMIT,
    CURSOR,
    *FRESH,
)
LINE = {"$ref": "#/components/schemas/LogLine"}
LINES = {"type": "array", "items": LINE, "minItems": 1, "maxItems": MOST_LINES}


def routes(handlers: LogLineHandlers) -> tuple[Operation, ...]:
    """The operations of the log lines of an execution."""
    return (
        Operation(
            "log",
            "POST",
            "/executions/{id}/logs",
            Right.WORK,
            f"Append a log line, or a list of at most {MOST_LINES}",
            handlers.append,
            body=LogLine,
            body_forms={"application/json": {"anyOf": [LINE, LINES]}},
            answer=APPENDED,
            body_limit=16 * MIB,
            problems=("not-found", "erased", "idempotency-key-reused", "version-mismatch"),
            sends=("Idempotency-Replayed",),
            prepare=prepare_lines,
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
            problems=("not-found", "malformed", "other-log", "damaged"),
            others={204: "The stream is over: the execution has ended, and all was sent"},
            sends=responses.AS_OF,
            parameters=PARAMETERS,
        ),
    )
