"""Made by scripts/sdk of the file of this name in `_async`: do not edit."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx2

from service_executions._sync.runtime import sleep
from service_executions._sync.transport import Transport
from service_executions.cursors import Cursor
from service_executions.errors import ApiError
from service_executions.frames import CellEvent, CellFrame, Event, Frame
from service_executions.models import ExecutionLog
from service_executions.requests import parameter, parameters, refusal, segment
from service_executions.resumption import OF_STREAM, PASSING, SILENCE, Resumption
from service_executions.retries import connection_failed

Item = TypeVar("Item")
MOST_BYTES = 64 << 20
"Bytes that one frame may have: an execution may have 32 MiB."
OF_CELLS = "/cells/events"
Lost = Callable[[str, float], None]
"Called when a connection is lost, with the reason and the seconds until the next attempt."
Query = dict[str, Any]


class Stream(Generic[Item]):
    """A stream of events or frames. Iterate over it; end it by leaving its `with` block, or by closing it.

    After a lost connection the stream reconnects and continues: no item is missed, and none comes twice. With a cursor,
    the next process continues too; it gets the item again that was being handled when the previous process ended.
    """

    def __init__(
        self,
        transport: Transport,
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
        self._on_lost = on_lost
        self._items: Generator[Item] = self._follow()

    @property
    def caught_up(self) -> bool:
        """Whether all past items have been received, so that the following ones are live."""
        return self._resumption.caught_up

    @property
    def away(self) -> frozenset[str]:
        """The names of the logs that are unavailable, of a stream of several logs."""
        return frozenset(self._resumption.away)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        return self._items.__next__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream."""
        self._items.close()

    def _follow(self) -> Generator[Item]:
        while True:
            reason: str | None = None
            try:
                with self._open() as response:
                    if response.status_code == 204:
                        return
                    for item in self._read_items(response):
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
            if self._on_lost is not None and reason is not None:
                self._on_lost(reason, pause)
            sleep(pause)

    @contextmanager
    def _open(self) -> Generator[httpx2.Response]:
        with self._transport.http.stream(
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
                response.read()
                raise refusal(response, 1)
            self._resumption.note_opened(response.headers)
            yield response

    def _read_items(self, response: httpx2.Response) -> Generator[Item]:
        """Yield the items of one connection."""
        resumption = self._resumption
        for sent in httpx2.EventSource(response, max_event_size=MOST_BYTES):
            if sent.event in OF_STREAM:
                resumption.about_stream(sent)
                continue
            item = self._model(sent.data)
            if resumption.is_new(getattr(item, "position", 0), getattr(item, "cell", "")):
                yield item
            if not getattr(item, "more", False):
                resumption.note_handled(sent.id)


class Streams:
    """The streams of a service. A stream connects when it is first read."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def watch(self, execution: str, query: Query, on_lost: Lost | None) -> Stream[Frame]:
        """Return a stream of what happens to one execution, from its first event, until it has ended."""
        path = f"/executions/{segment(execution)}/watch"
        start = _start(query)
        return Stream(
            self._transport, path, parameters(query), _frame, start=start, on_lost=on_lost
        )

    def watch_all(self, query: Query, cursor: Cursor | None, on_lost: Lost | None) -> Stream[Frame]:
        """Return a stream of what happens to all executions."""
        return self._of_many("/executions/watch", query, _frame, cursor, on_lost)

    def listen(self, query: Query, cursor: Cursor | None, on_lost: Lost | None) -> Stream[Event]:
        """Return a stream of the events of the whole log."""
        return self._of_many("/events", query, _event, cursor, on_lost)

    def events_of_cells(
        self, query: Query, cursor: Cursor | None, on_lost: Lost | None
    ) -> Stream[CellEvent]:
        """Return a stream of the events of several logs."""
        model = CellEvent.model_validate_json
        return self._of_many(OF_CELLS, query, model, cursor, on_lost)

    def frames_of_cells(
        self, query: Query, cursor: Cursor | None, on_lost: Lost | None
    ) -> Stream[CellFrame]:
        """Return a stream of what happens to the executions of several logs."""
        model = CellFrame.model_validate_json
        return self._of_many(OF_CELLS, query, model, cursor, on_lost)

    def _of_many(
        self,
        path: str,
        query: Query,
        read: Callable[[str], Item],
        cursor: Cursor | None,
        on_lost: Lost | None,
    ) -> Stream[Item]:
        """Return a stream that begins at the present unless the query has `from`, and continues from a stored cursor."""
        start = _start(query, "now")
        return Stream(
            self._transport,
            path,
            parameters(query),
            read,
            start=start,
            cursor=cursor,
            on_lost=on_lost,
            several=path == OF_CELLS,
        )

    def logs(self, execution: str, query: Query, on_lost: Lost | None) -> Stream[ExecutionLog]:
        """Return a stream of the log lines of one execution, until it has ended."""
        path = f"/executions/{segment(execution)}/logs"
        start = _start(query)
        return Stream(self._transport, path, parameters(query), _line, start=start, on_lost=on_lost)


def _start(query: Query, default: str | None = None) -> str | None:
    """Remove `from` from a query, because a reconnection begins at the cursor instead; return its value."""
    start = query.pop("from", None)
    return default if start is None else parameter(start)


def _frame(data: str) -> Frame:
    return Frame.model_validate_json(data)


def _event(data: str) -> Event:
    return Event.model_validate_json(data)


def _line(data: str) -> ExecutionLog:
    return ExecutionLog.model_validate_json(data)
