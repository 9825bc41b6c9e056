"""The ASGI application of a server with several logs, which passes each request to the application of its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.hosting.address import Address, Addresses
from api.hosting.hosted_logs import HostedLogs
from api.hosting.opened_log import OpenedLog, Parts, unavailable
from api.problems import problems
from api.problems.refusals import refusal
from api.transport.direct import Exchange
from api.transport.http_answer import PROTECTIVE
from api.web.access.answer_headers import STARTS
from domain.errors import DomainError

Field = tuple[bytes, bytes]
BEGINS = STARTS | {"websocket.accept"}
PATHS = {b"location": b"/", b"link": b"</"}
"""How headers begin whose values have a path."""


class ManyLogs:
    """Wraps the applications of all logs. The log of the settings gets the requests whose path and host name no other."""

    def __init__(self, own: Parts, hosted: HostedLogs) -> None:
        self._own = own
        self._hosted = hosted
        self._addresses = Addresses(hosted, own.name)
        self.direct = DirectOfMany(own, hosted, self._addresses)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._hosted.start()
            try:
                await self._own.app(scope, receive, send)
            finally:
                await self._hosted.stop()
            return
        try:
            address = self._addresses.find(scope["raw_path"], host_of(scope["headers"]))
            await self._hand_over(address, scope, receive, send)
        except DomainError as error:
            await _refuse(error, scope)(scope, receive, send)

    async def _hand_over(
        self, address: Address, scope: Scope, receive: Receive, send: Send
    ) -> None:
        prefix = address.prefix
        inner = {
            **scope,
            "raw_path": scope["raw_path"][len(prefix) :],
            "path": scope["path"][len(prefix) :],
        }
        if address.log is None:
            await self._own.app(inner, receive, _send_marked(send, self._own.headers, prefix))
            return
        async with self._hosted.borrow(address.log) as parts:
            structlog.contextvars.bind_contextvars(log=address.log)
            await parts.app(inner, receive, _send_marked(send, parts.headers, prefix))


class DirectOfMany:
    """The fast path of the logs that are open."""

    def __init__(self, own: Parts, hosted: HostedLogs, addresses: Addresses) -> None:
        self._own = own
        self._hosted = hosted
        self._addresses = addresses

    def find(
        self, method: bytes, url: bytes, headers: Sequence[Field], client: tuple[str, int] | None
    ) -> Exchange | None:
        """The exchange of a request with this head; None where the request goes through ASGI, which also refuses it."""
        try:
            address = self._addresses.find(url, host_of(headers))
        except DomainError:
            return None
        opened, parts = None, self._own
        if address.log is not None:
            opened = self._hosted.open_one(address.log)
            if opened is None or opened.parts is None:
                return None
            parts = opened.parts
        exchange = parts.direct.find(method, url[len(address.prefix) :], headers, client)
        if exchange is None:
            return None
        return NamedExchange(exchange, parts.headers, address.prefix, opened)


class NamedExchange:
    """A command whose answer gets the headers of its log, which stays open until then."""

    __slots__ = ("_exchange", "_headers", "_opened", "_prefix")

    def __init__(
        self,
        exchange: Exchange,
        headers: Sequence[Field],
        prefix: bytes,
        opened: OpenedLog | None,
    ) -> None:
        self._exchange = exchange
        self._headers = headers
        self._prefix = prefix
        self._opened = opened

    def run(self, body: bytes, send: Callable[[Response], None]) -> None:
        """Execute the command; `send` is called once with the response, now or later."""
        opened = self._opened
        if (
            opened is not None and opened.take() is None
        ):  # the log was closed while the body was received
            send(problems.answer(unavailable(opened.name), ""))
            return

        def send_answer(response: Response) -> None:
            if opened is not None:
                opened.release()
            response.raw_headers = mark(response.raw_headers, self._headers, self._prefix)
            send(response)

        with structlog.contextvars.bound_contextvars(**({"log": opened.name} if opened else {})):
            self._exchange.run(body, send_answer)


def host_of(headers: Iterable[Field]) -> bytes:
    """The first header Host of a request; the application of the log refuses a second one."""
    return next((value for name, value in headers if name == b"host"), b"")


def mark(fields: Iterable[Field], headers: Sequence[Field], prefix: bytes) -> list[Field]:
    """Add the headers of a log to those of an answer, and the prefix of the log to the paths in `Location` and `Link`."""
    return [*((name, _with_prefix(name, value, prefix)) for name, value in fields), *headers]


def _with_prefix(name: bytes, value: bytes, prefix: bytes) -> bytes:
    begins = PATHS.get(name)
    if begins is None or not value.startswith(begins):
        return value
    return value.replace(b"/", prefix + b"/", 1)


def _send_marked(send: Send, headers: Sequence[Field], prefix: bytes) -> Send:
    async def marking(message: Message) -> None:
        if message["type"] in BEGINS:
            message = {**message, "headers": mark(message.get("headers", ()), headers, prefix)}
        await send(message)

    return marking


def _refuse(error: DomainError, scope: Scope) -> Response:
    response = refusal(error, scope)
    response.raw_headers += PROTECTIVE
    return response
