"""The WebSocket protocol of uvicorn, with a line for streams, and with refusals as problem documents."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import StatusLike

from api.problems import problems
from api.problems.problems import Internal, Malformed
from api.transport.connection_limits import LimitedState
from api.transport.handshake import reason
from api.transport.http_answer import PROTECTIVE
from api.transport.protocols import LINE, NOSNIFF, StreamProtocol

CLOSE_TIMEOUT = 5.0
"""Seconds for the client to answer a close, before the connection is aborted."""


class WebSocketProtocol(StreamProtocol, WebSocketsSansIOProtocol):
    """WebSocket without compression. Once it is accepted, whole frames may be sent by `write`.

    It is counted instead of the HTTP connection that it began as.
    """

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._limits = cast(LimitedState, server_state).limits
        self._host = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._limits.per_address is not None and self.client is not None:
            self._host = self.client[0]
        self.conn.reject = _reject  # type: ignore[method-assign]  # the library would answer in plain text

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # The handshake is malformed, and uvicorn does not send the library's answer.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def cut(self, code: int, reason: str) -> None:
        if not self.close_sent:
            self.conn.send_close(code, reason)
            self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.transport.abort)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[LINE] = self

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.conn.parser.close()
        self._limits.leave(self._host)
        self.scope = None  # type: ignore[assignment]

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.http.response.start":
            defaults = self.default_headers  # uvicorn does not add them to a refusal
            message = {**message, "headers": [*defaults, *message["headers"]]}
        await super().send(message)
        if self.close_sent:
            # A refusal completes the handshake, too. Uvicorn does not set this, and would log each refusal as an
            # error of the application.
            self.handshake_complete = True

    def shutdown(self) -> None:
        if self.subscriber is None:
            super().shutdown()  # else the hub closes it, with the cursor


def _reject(status: StatusLike, text: str) -> Response:
    error = Internal() if status == HTTPStatus.INTERNAL_SERVER_ERROR else Malformed(reason(text))
    answer = problems.answer(error, "")
    protective = {name.decode(): value.decode() for name, value in PROTECTIVE}
    given = {NOSNIFF[0]: NOSNIFF[1]} | protective | dict(answer.headers)
    headers = Headers(connection="close", **given)
    return Response(answer.status_code, "", headers, bytes(answer.body))
