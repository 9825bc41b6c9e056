"""HTTP whose commands are answered in the protocol itself: no ASGI scope, no task, one write.

It costs half of what the way through ASGI costs. A message takes the short way only where its body comes
with its head or right behind it, on a connection on which nothing else is under way; else it goes on as
any other, so every limit and every time-out holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Protocol

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.transport.http_answer import header_lines, whole_answer
from api.transport.protocols import HttpProtocol

BODY_TIMEOUT = 1.0
"""Seconds after its head in which a body must have come."""
Headers = Sequence[tuple[bytes, bytes]]


class Exchange(Protocol):
    """A request that can be answered at once or later, without anybody waiting for it."""

    def run(self, body: bytes, send: Callable[[Response], None]) -> None:
        """Carry it out; `send` is called once with the response, now or later."""


class DirectPath(Protocol):
    """Knows which requests take the short way."""

    def find(
        self, method: bytes, url: bytes, headers: Headers, client: tuple[str, int] | None
    ) -> Exchange | None:
        """The exchange of a request with this head, from an address; None sends it through ASGI."""


class _Event:
    """What uvicorn sets when a connection is lost; nothing here waits for it."""

    def set(self) -> None:
        pass


class DirectCycle:
    """What uvicorn must know of a request that is under way beside it: whether it is answered."""

    __slots__ = (
        "disconnected",
        "keep_alive",
        "message_event",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(self, scope: Any) -> None:
        self.scope = scope
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.message_event = _EVENT


_EVENT = _Event()


class DirectHttpProtocol(HttpProtocol):
    """`HttpProtocol` with a short way for what `direct` finds."""

    def __init__(self, *given: Any, direct: DirectPath, **more: Any) -> None:
        super().__init__(*given, **more)
        self._direct = direct
        self._exchange: Exchange | None = None
        self._body = b""
        self._late: asyncio.TimerHandle | None = None
        self._rendered: tuple[Any, bytes] = (None, b"")

    def on_headers_complete(self) -> None:
        parser = self.parser
        if self._idle and parser.should_keep_alive() and parser.get_http_version() == "1.1":
            self._exchange = self._direct.find(
                parser.get_method(), self.url, self.headers, self.client
            )
            if self._exchange is not None:
                self._body = b""
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._exchange is None:
            super().on_body(body)
        else:
            self._framing.body += len(body)
            self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        if self._exchange is None:
            super().on_message_complete()
            return
        exchange = self._exchange
        self._leave_short_way()
        self.limits.begin(self)
        cycle: Any = DirectCycle(self.scope)
        self.cycle = cycle
        exchange.run(self._body, lambda response: self._respond(cycle, response))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._exchange is not None and self._late is None:
            self._late = self.loop.call_later(BODY_TIMEOUT, self._go_usual_way)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_short_way()
        super().connection_lost(exc)

    def _leave_short_way(self) -> None:
        self._exchange = None
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _go_usual_way(self) -> None:
        """The body is late: go on through ASGI, with its time-outs."""
        body = self._body
        self._leave_short_way()
        if self.transport.is_closing():
            return
        super().on_headers_complete()
        if body:
            HttpToolsProtocol.on_body(self, body)
        self.receive(len(body))

    @property
    def _idle(self) -> bool:
        cycle = self.cycle
        return (cycle is None or cycle.response_complete) and not self.pipeline  # type: ignore[redundant-expr]  # there is none before the first head

    def _respond(self, cycle: DirectCycle, response: Response) -> None:
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        if response.status_code != HTTPStatus.UNAUTHORIZED:
            self.show_token()
        answer = whole_answer(response, self._default_headers(), keep_alive=cycle.keep_alive)
        self._joined.bare.write(answer)
        if cycle.keep_alive:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.transport.close()

    def _default_headers(self) -> bytes:
        """Those of all responses; uvicorn makes a new list each second."""
        headers, rendered = self._rendered
        if headers is not self.server_state.default_headers:
            headers = self.server_state.default_headers
            rendered = header_lines(headers)
            self._rendered = headers, rendered
        return rendered
