"""Streams the log lines of one execution: past lines, then new ones, until the execution has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp

from api.access.rights import Right
from api.access.visibility import Visibility
from api.streaming.hub import Hub
from api.streaming.stream_position import BadCursor, require_log
from api.web.request import Request
from api.web.streams import event_stream
from api.web.streams.event_source import EventSource, control, frame
from api.web.streams.stream_request import FULL, read_state_to_stream
from domain.errors import NotFound, Overloaded
from domain.json_forms import parse_time
from domain.model import Versioned
from projections.engine.position_tracker import PositionTracker
from projections.log_lines.model import LogFilter
from projections.log_lines.notifier import LineSubscription, LogLineNotifier
from projections.log_lines.stream import LogCursor, LogLineReader, RecordedLine
from projections.representations.client_json import plain_json

LOOK_EVERY = 15.0
"""Seconds after which the lines are read without a notification."""
RETRY_AFTER = 1.0


class LogLineStreams:
    """Answers the log lines of one execution as server-sent events."""

    def __init__(
        self,
        hub: Hub,
        positions: PositionTracker,
        lines: LogLineReader,
        notifier: LogLineNotifier,
        visibility: Visibility,
    ) -> None:
        self._hub = hub
        self._visibility = visibility
        self._positions = positions
        self._lines = lines
        self._notifier = notifier

    async def follow(self, request: Request, only: LogFilter) -> ASGIApp:
        """Answer the lines as server-sent events; 204 where all lines were sent and none can follow.

        Raises:
            NotFound: there is no such execution.
            BadCursor: the stream cannot begin at the cursor.
        """
        try:
            return await self._open(request, only)
        except Overloaded as error:
            return event_stream.refuse_browser(request, error)

    async def _open(self, request: Request, only: LogFilter) -> ASGIApp:
        hub = self._hub
        require_log(request.parameter("log"), hub.of_log)
        if hub.full:
            raise Overloaded(FULL)
        execution = request.path["id"]
        versioned = await read_state_to_stream(hub, f"execution/{execution}")
        cursor = await self._start(request, execution)
        resumed = request.header("last-event-id") is not None
        if resumed and versioned and await self._over(versioned, execution, only, cursor):
            return Response(status_code=204)
        if hub.full:  # other streams may have begun meanwhile
            raise Overloaded(FULL)

        def frames(source: EventSource) -> AsyncGenerator[bytes]:
            return self._follow(source, request, only, cursor)

        headers = {"log-position": str(self._positions.position("logs"))}
        source = EventSource(hub, frames, headers)
        source.cursor = str(cursor)
        return source

    async def _start(self, request: Request, execution: str) -> LogCursor:
        last = request.header("last-event-id")
        if last is not None:
            return await self._cursor("Last-Event-ID", last)
        wanted = request.parameter("from") or "start"
        stream = self._lines
        if wanted == "start":
            return LogCursor()
        if wanted == "now":
            return await stream.newest(execution)
        if ":" not in wanted:
            return await self._cursor("from", wanted)
        try:
            at = parse_time(wanted)
        except ValueError as error:
            message = f"must be `start`, `now`, a cursor or a time; as a time it {error}"
            raise BadCursor("from", message) from None
        return await stream.since(execution, at)

    async def _cursor(self, name: str, text: str) -> LogCursor:
        try:
            cursor = LogCursor.read(text)
        except ValueError as error:
            message = f"{text[:50]!r} is no cursor of log lines: {error}"
            raise BadCursor(name, message) from None
        if not await self._lines.exists(cursor):
            raise BadCursor(name, f"{text[:50]!r} lies in the future")
        return cursor

    async def _over(
        self, versioned: Versioned[Any], execution: str, only: LogFilter, cursor: LogCursor
    ) -> bool:
        if not (
            versioned.state.final
            and await self._positions.wait("logs", versioned.position, RETRY_AFTER)
        ):
            return False
        async with aclosing(self._lines.pages(execution, only, cursor)) as pages:
            return await anext(pages, None) is None

    async def _follow(
        self, source: EventSource, request: Request, only: LogFilter, cursor: LogCursor
    ) -> AsyncGenerator[bytes]:
        """The frames of the stream. While the database is unavailable, this waits and continues at its cursor."""
        execution, caught_up = request.path["id"], False
        while not source.closing:
            try:
                async with self._notifier.of(execution, source.wake) as follower:
                    while not source.closing:
                        if not await self._is_reached(request):
                            return
                        ended = follower.noted and await self._has_ended(follower, execution)
                        async with aclosing(self._lines.pages(execution, only, cursor)) as pages:
                            async for page in pages:
                                cursor = page[-1].cursor
                                yield _frames(page)
                                source.cursor = str(cursor)
                        if not caught_up:
                            yield control("caught-up", cursor, log=self._hub.of_log)
                            caught_up = True
                        if ended:
                            return
                        if not await source.wake.wait(
                            RETRY_AFTER if follower.noted else LOOK_EVERY
                        ):
                            follower.noted = True
            except Overloaded:
                await source.wake.wait(RETRY_AFTER)

    async def _is_reached(self, request: Request) -> bool:
        """Whether the caller may still see the execution, as an assignment may have ended."""
        stream = f"execution/{request.path['id']}"
        try:
            await self._visibility.require(request.caller, Right.READ_EXECUTIONS, stream)
        except NotFound:
            return False
        return True

    async def _has_ended(self, follower: LineSubscription, execution: str) -> bool:
        """Whether the execution has ended, and the view has the lines about its end. Called before lines are read.

        Where the view does not have them yet, `follower.noted` is set, so that this is called again.
        """
        follower.noted = False
        versioned = await read_state_to_stream(self._hub, f"execution/{execution}")
        if versioned is None or not versioned.state.final:
            return False
        if await self._positions.wait("logs", versioned.position, RETRY_AFTER):
            return True
        follower.noted = True
        return False


def _frames(page: list[RecordedLine]) -> bytes:
    return b"".join(frame("log", plain_json(line), cursor) for cursor, line in page)
