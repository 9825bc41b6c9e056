"""What a client asks of a stream, read from its request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from api.access.rights import Right
from api.streaming import filter as filters
from api.streaming.filter import Filter
from api.streaming.frames import EVENTS, EVENTS_WITH_STATE, WATCH, WITH_STATE, Format
from api.streaming.hub import Hub
from api.streaming.index import WHOLE_LOG
from api.streaming.stream_position import Start, require_log, start_at
from api.web.request import Request
from domain.damage import report
from domain.errors import Damaged, Invalid, NotFound, Overloaded
from domain.eventlog.store import Store
from domain.model import Versioned

FULL = "There are as many streams here as there may be. Come back a little later."
OWN = frozenset({"from", "log", "types", "format", "include", "speed"})
FASTEST = 1_000_000.0
ENVELOPES = frozenset({EVENTS, EVENTS_WITH_STATE})


class StreamQuery(NamedTuple):
    """A stream as it was asked for. `over` when nothing will ever come after the cursor."""

    format: Format
    filter: Filter
    cursor: int
    stream: str = WHOLE_LOG
    versioned: Versioned[Any] | None = None
    over: bool = False
    speed: float | None = None


class StreamRequests:
    """Reads what clients ask of streams, and keeps out those for whom there is no place."""

    def __init__(self, hub: Hub, store: Store) -> None:
        self.hub = hub
        self._store = store

    async def admitted(self, request: Request, ask: Ask, default: Format) -> StreamQuery:
        """What a client asks for, where there is a place for it.

        The places are counted before, to send a crowd away at once, and after: to ask takes time, in
        which others come. From there on nothing waits until the stream is connected.

        Raises:
            Overloaded: there is no place.
        """
        self._require_place()
        wanted = await ask(self, request, default)
        self._require_place()
        return wanted

    def _require_place(self) -> None:
        if self.hub.full:
            raise Overloaded(FULL)

    async def of_log(self, request: Request, default: Format) -> StreamQuery:
        """Everything the caller may see, from now on unless it says otherwise."""
        return await self._of_log(request, default)

    async def of_executions(self, request: Request, default: Format) -> StreamQuery:
        """The same, without users, services, workflows and orders."""
        return await self._of_log(request, default, executions_only=True)

    async def of_execution(self, request: Request, default: Format) -> StreamQuery:
        """One execution, from its first event unless the client says otherwise."""
        begin = await self._start(request, "start")
        stream = f"execution/{request.path['id']}"
        versioned = await streamed_state(self.hub, stream)
        over = (
            versioned is not None
            and versioned.state.final
            and begin.resumed
            and begin.cursor >= versioned.position
        )
        format_ = _format(request, default)
        wanted = await self._filter(request, format_)
        return StreamQuery(
            format_, wanted, begin.cursor, stream, versioned, over=over, speed=speed(request)
        )

    async def _of_log(
        self, request: Request, default: Format, *, executions_only: bool = False
    ) -> StreamQuery:
        begin = await self._start(request, "now")
        format_ = _format(request, default)
        # Watchers' frames are of executions anyway.
        only = executions_only and format_ in ENVELOPES
        wanted = await self._filter(request, format_, executions_only=only)
        return StreamQuery(format_, wanted, begin.cursor, speed=speed(request))

    async def _start(self, request: Request, default: str) -> Start:
        require_log(request.parameter("log"), self.hub.of_log)
        head = await self.hub.head()
        last, wanted = request.header("last-event-id"), request.parameter("from")
        return await start_at(last, wanted or default, head, self._store.position_before)

    async def _filter(
        self, request: Request, format_: Format, *, executions_only: bool = False
    ) -> Filter:
        asked = [(name, value) for name, value in request.query if name not in OWN]
        wanted = filters.read(
            request.parameter("types"),
            asked,
            watched=format_ not in ENVELOPES,
            executions_only=executions_only,
        )
        if wanted.logs:
            request.caller.require(Right.READ_EXECUTIONS)
            await self.hub.logs.ready()
        return wanted


Ask = Callable[[StreamRequests, Request, Format], Awaitable[StreamQuery]]
"""One of the `of_…` methods."""


def speed(request: Request) -> float | None:
    """`?speed=`: None without one.

    Raises:
        Invalid: it is no number from 0 on.
    """
    text = request.parameter("speed")
    if text is None:
        return None
    try:
        return checked_speed(float(text))
    except ValueError:
        raise Invalid.field(
            "speed", "must be a number from 0 to 1000000: 10 is ten times as fast"
        ) from None


def checked_speed(value: object) -> float:
    """A speed; 0 is as fast as can be. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a speed is a number")
    if not 0 <= value <= FASTEST:
        raise ValueError(f"a speed is from 0 to {FASTEST:.0f}")
    return float(value)


def _format(request: Request, default: Format) -> Format:
    wanted = request.choice("format", "watch", "events")
    if wanted is not None:
        default = EVENTS if wanted == "events" else WATCH
    return WITH_STATE[default] if included(request) else default


def included(request: Request) -> bool:
    """Whether `?include=execution` asks for the state after each event.

    Raises:
        Invalid: it asks for anything else.
    """
    return request.choice("include", "execution") is not None


async def streamed_state(hub: Hub, stream: str) -> Versioned[Any] | None:
    """The state of an execution to stream; None where it is damaged: what can be read is sent all the same.

    Raises:
        NotFound: there is no such execution.
    """
    try:
        versioned = await hub.loader.state(stream)
    except Damaged as error:
        report(error)
        return None
    if versioned is None:
        raise NotFound("There is no such execution.")
    return versioned
