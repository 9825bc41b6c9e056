"""Streams that come back by themselves: every frame once, whatever happens to the connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx2

from service_executions._async.runtime import sleep
from service_executions._async.transport import AsyncTransport
from service_executions.cursors import Cursor
from service_executions.errors import ApiError
from service_executions.frames import CellEvent, CellFrame, Event, Frame
from service_executions.models import ExecutionLog
from service_executions.requests import parameter, parameters, refusal, segment
from service_executions.resumption import OF_STREAM, PASSING, SILENCE, Resumption
from service_executions.retries import connection_failed

Item = TypeVar("Item")
MOST_BYTES = 64 << 20
"""Of one frame: an execution holds 32 MiB."""
OF_CELLS = "/cells/events"
Lost = Callable[[str, float], None]
Query = dict[str, Any]


class AsyncStream(Generic[Item]):
    """What a service sends as it happens. Iterate over it; leave its `with`, or close it, to end it.

    A lost connection is made again and goes on where it was: nothing is missed, nothing comes twice. With
    a cursor, what is being handled while the process ends comes once more to the next one.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        path: str,
        query: dict[str, str],
        model: Callable[[str], Item],
        *,
        start: str | None = None,
        cursor: Cursor | None = None,
        on_lost: Lost | None = None,
        several: bool = False,
    ) -> None:
        self._transport = transport
        self._path = path
        self._query = query
        self._model = model
        self._resumption = Resumption(start, cursor, several=several)
        self._lost = on_lost
        self._items: AsyncGenerator[Item] = self._follow()

    @property
    def caught_up(self) -> bool:
        """Whether the past is done, and what comes happens now."""
        return self._resumption.caught_up

    @property
    def away(self) -> frozenset[str]:
        """Names of the logs that do not answer, of a stream of several."""
        return frozenset(self._resumption.away)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        return await self._items.__anext__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it."""
        await self._items.aclose()

    async def _follow(self) -> AsyncGenerator[Item]:
        while True:
            reason: str | None = None
            try:
                async with self._open() as response:
                    if response.status_code == 204:
                        return
                    async for item in self._visit(response):
                        yield item
            except httpx2.TransportError as error:
                failed = connection_failed(self._transport.address.url, error)
                if not failed.is_passing:
                    raise failed from error
                reason = str(failed)
            except ApiError as error:
                if error.status not in PASSING:
                    raise
                reason = str(error)
                self._resumption.goodbye = error.retry_after
            reason = reason or self._resumption.farewell(self._transport.address.url)
            pause = self._resumption.pause(reason)
            if self._lost is not None and reason is not None:
                self._lost(reason, pause)
            await sleep(pause)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[httpx2.Response]:
        async with self._transport.http.stream(
            "GET",
            self._transport.address.api + self._path,
            params={**self._query, **self._resumption.query()},
            headers={
                **self._transport.headers,
                **self._resumption.headers(),
                "Accept": "text/event-stream",
            },
            timeout=httpx2.Timeout(self._transport.timeout, read=SILENCE),
        ) as response:
            if not response.is_success:
                await response.aread()
                raise refusal(response, 1)
            self._resumption.note_opened(response.headers)
            yield response

    async def _visit(self, response: httpx2.Response) -> AsyncGenerator[Item]:
        """What comes over one connection."""
        resumption = self._resumption
        async for sent in httpx2.EventSource(response, max_event_size=MOST_BYTES):
            if sent.event in OF_STREAM:
                resumption.about_stream(sent)
                continue
            item = self._model(sent.data)
            if resumption.is_new(getattr(item, "position", 0), getattr(item, "cell", "")):
                yield item
            if not getattr(item, "more", False):
                resumption.note_handled(sent.id)


class AsyncStreams:
    """The streams of a service, opened when they are first read from."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def watch(self, execution: str, query: Query, on_lost: Lost | None) -> AsyncStream[Frame]:
        """What happens to one execution, from its first event, until it has ended."""
        path = f"/executions/{segment(execution)}/watch"
        start = _start(query)
        return AsyncStream(
            self._transport, path, parameters(query), _frame, start=start, on_lost=on_lost
        )

    def watch_all(
        self, query: Query, cursor: Cursor | None, on_lost: Lost | None
    ) -> AsyncStream[Frame]:
        """What happens to all executions."""
        return self._of_many("/executions/watch", query, _frame, cursor, on_lost)

    def listen(
        self, query: Query, cursor: Cursor | None, on_lost: Lost | None
    ) -> AsyncStream[Event]:
        """Events of the whole log."""
        return self._of_many("/events", query, _event, cursor, on_lost)

    def events_of_cells(
        self, query: Query, cursor: Cursor | None, on_lost: Lost | None
    ) -> AsyncStream[CellEvent]:
        """Events of several logs."""
        model = CellEvent.model_validate_json
        return self._of_many(OF_CELLS, query, model, cursor, on_lost)

    def frames_of_cells(
        self, query: Query, cursor: Cursor | None, on_lost: Lost | None
    ) -> AsyncStream[CellFrame]:
        """What happens to the executions of several logs."""
        model = CellFrame.model_validate_json
        return self._of_many(OF_CELLS, query, model, cursor, on_lost)

    def _of_many(
        self,
        path: str,
        query: Query,
        read: Callable[[str], Item],
        cursor: Cursor | None,
        on_lost: Lost | None,
    ) -> AsyncStream[Item]:
        """A stream that begins now unless it is asked otherwise, and goes on by a cursor."""
        start = _start(query, "now")
        return AsyncStream(
            self._transport,
            path,
            parameters(query),
            read,
            start=start,
            cursor=cursor,
            on_lost=on_lost,
            several=path == OF_CELLS,
        )

    def logs(self, execution: str, query: Query, on_lost: Lost | None) -> AsyncStream[ExecutionLog]:
        """The log lines of one execution, until it has ended."""
        path = f"/executions/{segment(execution)}/logs"
        start = _start(query)
        return AsyncStream(
            self._transport, path, parameters(query), _line, start=start, on_lost=on_lost
        )


def _start(query: Query, usually: str | None = None) -> str | None:
    """Where a stream begins; what it reaches takes its place."""
    start = query.pop("from", None)
    return usually if start is None else parameter(start)


def _frame(data: str) -> Frame:
    return Frame.model_validate_json(data)


def _event(data: str) -> Event:
    return Event.model_validate_json(data)


def _line(data: str) -> ExecutionLog:
    return ExecutionLog.model_validate_json(data)
