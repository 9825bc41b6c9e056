"""Parses and authorizes requests for streams."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from api.access.rights import Right
from api.access.scope import Scope
from api.streaming import filter as filters
from api.streaming.encoding import ENCODERS, Wire
from api.streaming.filter import Filter
from api.streaming.frames import EVENTS, EVENTS_WITH_STATE, WATCH, WITH_STATE, Format
from api.streaming.hub import Hub
from api.streaming.index import WHOLE_LOG
from api.streaming.stream_position import StreamStart, require_log, start_at
from api.streaming.subscriber import Subscriber, Transport
from api.streaming.topic import KnownStream, Topic
from api.web.request import Request
from domain.damage import report
from domain.errors import Damaged, Invalid, NotFound, Overloaded, but_is
from domain.eventlog.store import Store
from domain.model import Versioned
from projections.query.matcher import parties_suffice

FULL = "There are as many streams here as there may be. Come back a little later."
OWN = frozenset({"from", "log", "types", "format", "include", "speed"})
"""The query parameters of a stream; all others are fields to filter by."""
FASTEST = 1_000_000.0
"""The highest speed of a replay."""
ENVELOPES = frozenset({EVENTS, EVENTS_WITH_STATE})


class StreamKind(NamedTuple):
    """A kind of stream: of one execution, of all executions, or of the log; with its default format."""

    format: Format
    single: bool = False
    of_executions: bool = False


LOG = StreamKind(EVENTS)
EXECUTION = StreamKind(EVENTS, single=True)
WATCHED_EXECUTIONS = StreamKind(WATCH, of_executions=True)
WATCHED_EXECUTION = StreamKind(WATCH, single=True)
STREAM_OPERATIONS = {
    "streamEvents": LOG,
    "listEvents": EXECUTION,
    "watchExecutions": WATCHED_EXECUTIONS,
    "watchExecution": WATCHED_EXECUTION,
    "monitorExecutions": WATCHED_EXECUTIONS,
    "monitorExecution": WATCHED_EXECUTION,
}
"""The operations that answer a stream, as server-sent events and over WebSocket, with their kinds."""


class StreamQuery(NamedTuple):
    """A stream that a client asks for. `over`: nothing can follow the cursor, as the execution has ended."""

    format: Format
    filter: Filter
    cursor: int
    head: int
    """The position of the log at the request: a stream from `now` begins there, and `Log-Position` has it."""
    stream: str = WHOLE_LOG
    known: KnownStream | None = None
    over: bool = False
    speed: float | None = None

    def connect(self, hub: Hub, transport: Transport, wire: Wire) -> Subscriber:
        """Connect a subscriber to the hub. The caller must `start` it, and disconnect it in the end."""
        topic = Topic(ENCODERS[self.format, wire], self.stream, self.filter)
        subscriber = hub.connect(transport, topic, self.cursor, self.known)
        subscriber.play(self.speed)
        return subscriber


class StreamRequests:
    """Parses and authorizes the requests of streams, and refuses them where there is no room."""

    def __init__(self, hub: Hub, store: Store) -> None:
        self.hub = hub
        self._store = store

    async def admit(self, request: Request, kind: StreamKind) -> StreamQuery:
        """The stream that a client asks for, where there is room for another.

        Room is checked before, to refuse a crowd at once, and again after, as other streams may have begun meanwhile.

        Raises:
            Overloaded: there is no room.
        """
        self.require_room()
        query = await self.query(request, kind)
        self.require_room()
        return query

    def require_room(self) -> None:
        """Raises Overloaded where there is no room for another stream."""
        if self.hub.full:
            raise Overloaded(FULL)

    async def query(self, request: Request, kind: StreamKind) -> StreamQuery:
        """The stream that a client asks for. By default one of a single execution begins at its first event, any other
        now.

        Raises:
            NotFound: there is no such execution.
            BadCursor: the stream cannot begin at the cursor.
            Invalid: another parameter is not valid.
            CursorOfOtherLog: the cursor is of another log.
        """
        begin, head = await self._start(request, "start" if kind.single else "now")
        stream, versioned = stream_of(request, kind), None
        if kind.single:
            versioned = await read_state_to_stream(self.hub, stream)
        known = KnownStream.of(versioned)
        over = (
            known is not None and known.final and begin.resumed and begin.cursor >= known.position
        )
        format_, wanted = form_and_filter(request, kind)
        if wanted.logs:
            request.caller.require(Right.READ_EXECUTIONS)
            await self.hub.logs.ready()
        wanted = _limit(wanted, request.caller.scope, kind, known)
        return StreamQuery(
            format_, wanted, begin.cursor, head, stream, known, over=over, speed=speed(request)
        )

    async def _start(self, request: Request, default: str) -> tuple[StreamStart, int]:
        """The start of the stream, and the position of the log."""
        require_log(request.parameter("log"), self.hub.of_log)
        head = await self.hub.head()
        last, wanted = request.header("last-event-id"), request.parameter("from")
        return await start_at(last, wanted or default, head, self._store.position_before), head


def stream_of(request: Request, kind: StreamKind) -> str:
    """The stream of events that a request names."""
    return f"execution/{request.path['id']}" if kind.single else WHOLE_LOG


def form_and_filter(request: Request, kind: StreamKind) -> tuple[Format, Filter]:
    """The format of frames and the filter that a request asks for, without the scope of the caller.

    Raises:
        Invalid: there is no such format, type or field.
    """
    format_ = _format(request, kind.format)
    watched = format_ not in ENVELOPES
    wanted = filters.read(
        request.parameter("types"),
        [(name, value) for name, value in request.query if name not in OWN],
        watched=watched,
        # Frames for watchers are only of executions.
        executions_only=kind.of_executions and not watched,
        single=kind.single,
    )
    return format_, wanted


def _limit(wanted: Filter, scope: Scope, kind: StreamKind, known: KnownStream | None) -> Filter:
    """The filter within a scope. Admission has looked at a single execution: what its parties allow they
    always will, and what else does is looked at again with each event that comes.
    """
    condition = scope.condition(Right.READ_EVENTS)
    if wanted.logs:
        condition = scope.within(Right.READ_EVENTS, scope.condition(Right.READ_EXECUTIONS))
    if not kind.single:
        return replace(wanted, scope=condition)
    if parties_suffice(condition):
        return wanted
    return replace(wanted, scope=condition, seen_until=known.position if known else 0)


def speed(request: Request) -> float | None:
    """The speed in `?speed=`; None without it.

    Raises:
        Invalid: the speed is no number from 0 to `FASTEST`.
    """
    text = request.parameter("speed")
    if text is None:
        return None
    try:
        return parse_speed(float(text))
    except ValueError:
        raise Invalid.field(
            "speed",
            f"must be a number from 0 to 1000000, where 10 is ten times as fast{but_is(text)}",
        ) from None


def parse_speed(value: object) -> float:
    """Check a speed, of which 0 leaves out all gaps. Raises ValueError where it is no number from 0 to `FASTEST`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a speed is a number")
    if not 0 <= value <= FASTEST:
        raise ValueError(f"a speed is from 0 to {FASTEST:.0f}")
    return float(value)


def _format(request: Request, default: Format) -> Format:
    wanted = request.choice("format", "watch", "events")
    if wanted is not None:
        default = EVENTS if wanted == "events" else WATCH
    return WITH_STATE[default] if includes_execution(request) else default


def includes_execution(request: Request) -> bool:
    """Whether `?include=execution` asks for the state after each event.

    Raises:
        Invalid: it has another value.
    """
    return request.choice("include", "execution") is not None


async def read_state_to_stream(hub: Hub, stream: str) -> Versioned[Any] | None:
    """The state of an execution to stream; None where the state is damaged: readable events are sent all the same.

    Raises:
        NotFound: there is no such execution.
    """
    try:
        versioned = await hub.loader.state(stream)
    except Damaged as error:
        report(error)
        return None
    if versioned is None:
        raise NotFound.of("execution")
    return versioned
