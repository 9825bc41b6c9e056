"""Streams over WebSocket: the client may pause, seek and change the speed."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable
from functools import partial
from typing import Any

import structlog
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send

from api.problems import problems
from api.problems.refusals import refusal
from api.streaming.close_codes import DONE, REFUSED, RESTART
from api.streaming.encoding import WEBSOCKET
from api.streaming.subscriber import Ending, Subscriber, position_text
from api.transport.protocols import protocol_of
from api.web.input.json_text import parse
from api.web.operation import Operation
from api.web.request import Request
from api.web.streams.event_stream import lock_out, log_position
from api.web.streams.opening import StreamOpener
from api.web.streams.stream_request import STREAM_OPERATIONS, parse_speed
from domain.errors import Invalid, Overloaded

SUBPROTOCOL = "executions"
BEARER = "bearer."
LONGEST_REASON = 90
"""Bytes of a reason: a close frame takes 123 bytes, which include the cursor (RFC 6455, 5.5)."""

log = structlog.get_logger()


class BadMessage(ValueError):
    """A message of a client is none of pause, seek and speed; the error's text says why."""


class Socket:
    """The ASGI application of one stream operation over WebSocket: opens the stream, then the hub writes to it."""

    def __init__(self, opener: StreamOpener, operation: Operation) -> None:
        self._opener = opener
        self._hub = opener.hub
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            shown = scope["state"]["headers"].get(b"authorization")
            shown = shown or _authorization(scope["subprotocols"])
            request, asked = await self._opener.open(self._operation, scope, shown)
        except Exception as error:  # noqa: BLE001 - every error is answered
            await refusal(error, scope)(scope, receive, send)
            return
        subscriber = None
        try:
            await receive()
            chosen = SUBPROTOCOL if SUBPROTOCOL in scope["subprotocols"] else None
            headers = [log_position(asked)]
            await send({"type": "websocket.accept", "subprotocol": chosen, "headers": headers})
            if asked.over:
                await send(_close(Ending(DONE, asked.cursor)))
            else:
                subscriber = asked.connect(self._hub, protocol_of(scope), WEBSOCKET)
                await self._serve(request, subscriber, receive, send)
        finally:
            sent = asked.cursor if subscriber is None else subscriber.sent
            await self._opener.record_end(self._operation, request, sent)

    async def _serve(
        self, request: Request, subscriber: Subscriber, receive: Receive, send: Send
    ) -> None:
        subscriber.done.add_done_callback(partial(_close_when_done, send))
        try:
            subscriber.start()
            await self._listen(request, subscriber, receive)
        finally:
            self._hub.disconnect(subscriber)

    async def _listen(self, request: Request, subscriber: Subscriber, receive: Receive) -> None:
        """Execute the messages of the client, until it disconnects or the stream is over."""
        caller, end = request.caller, partial(subscriber.end, RESTART)
        with self._opener.open_requests.of(caller, partial(lock_out, subscriber)):
            async with self._opener.while_granted(caller, end):
                while (message := await receive())["type"] == "websocket.receive":
                    await self._execute(subscriber, request, message)

    async def _execute(self, subscriber: Subscriber, request: Request, message: Message) -> None:
        try:
            control = _parse_message(message)
            if (cursor := _seek_position(control, self._hub.position)) is not None:
                await self._opener.sought(self._operation, request, cursor)
            _apply_message(subscriber, control, self._hub.position)
        except BadMessage as error:
            subscriber.refuse(str(error)[:LONGEST_REASON])
        except Overloaded as error:
            subscriber.refuse(error.detail[:LONGEST_REASON])


def _authorization(subprotocols: Iterable[str]) -> bytes | None:
    """The header Authorization for the token in a subprotocol `bearer.<base64url of the token>`: browsers cannot set
    headers of a WebSocket.

    Query parameters are not accepted, as they are written to logs and histories.

    Raises:
        Malformed: the client offers several tokens.
        Unauthenticated: the token is not encoded as base64url.
    """
    shown = [offered for offered in subprotocols if offered.startswith(BEARER)]
    if len(shown) > 1:
        raise problems.Malformed("Sec-WebSocket-Protocol offers more than one token: offer one.")
    if not shown:
        return None
    text = shown[0].removeprefix(BEARER)
    try:
        token = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise problems.Unauthenticated from None
    return b"Bearer " + token


def _parse_message(message: Message) -> tuple[str, Any]:
    try:
        text = message.get("text")
        document = parse(text.encode() if text else message.get("bytes") or b"").value
    except (ValueError, Invalid):
        raise BadMessage("not JSON, or too deep") from None
    if not isinstance(document, dict) or len(document) != 1:
        raise BadMessage("send one of pause, seek, speed")
    return next(iter(document.items()))


def _seek_position(control: tuple[str, Any], head: int) -> int | None:
    """The position in a `seek` message; None where the message is no valid `seek`."""
    match control:
        case ("seek", int(cursor)) if not isinstance(cursor, bool) and 0 <= cursor <= head:
            return cursor
    return None


def _apply_message(subscriber: Subscriber, control: tuple[str, Any], head: int) -> None:
    match control:
        case ("pause", True):
            subscriber.pause()
        case ("pause", False):
            subscriber.resume()
        case ("seek", _) if (cursor := _seek_position(control, head)) is not None:
            subscriber.seek(cursor)
        case ("seek", _):
            raise BadMessage(f"seek takes a position, from 0 to {head}")
        case ("pause", _):
            raise BadMessage("pause takes true or false")
        case ("speed", value):
            try:
                speed = parse_speed(value)
            except ValueError as error:
                raise BadMessage(str(error)) from None
            subscriber.play(speed)
            subscriber.resume()
        case _:
            raise BadMessage("send one of pause, seek, speed")


def _close_when_done(send: Send, done: asyncio.Future[Ending]) -> None:
    """Close the WebSocket with the hub's code; the request ends with the client's close, or without it by a timeout."""
    ending = done.result()
    if ending.code is not None:
        task = asyncio.create_task(_send_close(send, ending), name="close of a stream")
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)


async def _send_close(send: Send, ending: Ending) -> None:
    try:
        await send(_close(ending))
    except Exception as error:  # noqa: BLE001 - the client has disconnected meanwhile
        log.debug("a WebSocket was closed before its last message", error=repr(error))


_CLOSING: set[asyncio.Task[None]] = set()


def _close(ending: Ending) -> Message:
    cursor = position_text(ending.cursor)
    reason = f"{ending.reason}; {cursor}" if ending.reason else cursor
    return {"type": "websocket.close", "code": ending.code or REFUSED, "reason": reason}


def routes(opener: StreamOpener, operations: Iterable[Operation]) -> list[BaseRoute]:
    """The routes that accept a WebSocket."""
    return [
        WebSocketRoute(operation.path, Socket(opener, operation))
        for operation in operations
        if operation.name in STREAM_OPERATIONS
    ]
