"""Streams over WebSocket: the same frames, and a client that may pause, seek and change the speed."""

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
from api.streaming.encoding import WEBSOCKET
from api.streaming.subscriber import DONE, REFUSED, RESTART, Ending, Subscriber, position_text
from api.transport.protocols import protocol_of
from api.web.admission import refusal
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
"""A close takes 123 bytes, the cursor among them."""

log = structlog.get_logger()


class BadMessage(ValueError):
    """What a client sent is none of pause, seek and speed; the message says why."""


class Socket:
    """The WebSocket of one operation: has it opened, then lets the hub write."""

    def __init__(self, opener: StreamOpener, operation: Operation) -> None:
        self._opener = opener
        self._hub = opener.hub
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            shown = scope["state"]["headers"].get(b"authorization")
            shown = shown or _authorization(scope["subprotocols"])
            request, asked = await self._opener.open(self._operation, scope, shown)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
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
        subscriber.done.add_done_callback(partial(_goodbye, send))
        try:
            subscriber.start()
            await self._listen(request, subscriber, receive)
        finally:
            self._hub.disconnect(subscriber)

    async def _listen(self, request: Request, subscriber: Subscriber, receive: Receive) -> None:
        """Do what the client says, until it goes or the stream is over."""
        caller, end = request.caller, partial(subscriber.end, RESTART)
        with self._opener.open_requests.of(caller, partial(lock_out, subscriber)):
            async with self._opener.while_granted(caller, end):
                while (message := await receive())["type"] == "websocket.receive":
                    await self._obey(subscriber, request, message)

    async def _obey(self, subscriber: Subscriber, request: Request, message: Message) -> None:
        try:
            word = _read(message)
            if (cursor := _sought(word, self._hub.position)) is not None:
                await self._opener.sought(self._operation, request, cursor)
            _apply(subscriber, word, self._hub.position)
        except BadMessage as error:
            subscriber.refuse(str(error)[:LONGEST_REASON])
        except Overloaded as error:
            subscriber.refuse(error.detail[:LONGEST_REASON])


def _authorization(subprotocols: Iterable[str]) -> bytes | None:
    """The token of a browser, which cannot set headers: a subprotocol `bearer.<base64url of it>`.

    Not a query parameter: those end up in logs and in histories.

    Raises:
        Malformed: it offers several.
        Unauthenticated: what it offers is not encoded like that.
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


def _read(message: Message) -> tuple[str, Any]:
    try:
        text = message.get("text")
        document = parse(text.encode() if text else message.get("bytes") or b"").value
    except (ValueError, Invalid):
        raise BadMessage("not JSON, or too deep") from None
    if not isinstance(document, dict) or len(document) != 1:
        raise BadMessage("send one of pause, seek, speed")
    return next(iter(document.items()))


def _sought(word: tuple[str, Any], head: int) -> int | None:
    """The position that a message asks to go on after; None where it asks for none that there is."""
    match word:
        case ("seek", int(cursor)) if not isinstance(cursor, bool) and 0 <= cursor <= head:
            return cursor
    return None


def _apply(subscriber: Subscriber, word: tuple[str, Any], head: int) -> None:
    match word:
        case ("pause", True):
            subscriber.pause()
        case ("pause", False):
            subscriber.resume()
        case ("seek", _) if (cursor := _sought(word, head)) is not None:
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


def _goodbye(send: Send, done: asyncio.Future[Ending]) -> None:
    """Close as the hub says; the client's answer, or its absence, ends the request."""
    ending = done.result()
    if ending.code is not None:
        task = asyncio.create_task(_send_close(send, ending), name="stream's goodbye")
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)


async def _send_close(send: Send, ending: Ending) -> None:
    try:
        await send(_close(ending))
    except Exception as error:  # noqa: BLE001 - it has gone meanwhile
        log.debug("a stream had gone before its goodbye", error=repr(error))


_CLOSING: set[asyncio.Task[None]] = set()


def _close(ending: Ending) -> Message:
    cursor = position_text(ending.cursor)
    reason = f"{ending.reason}; {cursor}" if ending.reason else cursor
    return {"type": "websocket.close", "code": ending.code or REFUSED, "reason": reason}


def routes(opener: StreamOpener, operations: Iterable[Operation]) -> list[BaseRoute]:
    """The paths that take a WebSocket."""
    return [
        WebSocketRoute(operation.path, Socket(opener, operation))
        for operation in operations
        if operation.name in STREAM_OPERATIONS
    ]
