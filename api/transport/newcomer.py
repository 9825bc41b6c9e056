"""A connection that has sent nothing yet, which takes little memory. HTTP begins with its first bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from api.transport.connection_limits import LimitedState
from api.transport.http_answer import whole_refusal
from api.transport.protocols import HttpProtocol


class Newcomer(asyncio.Protocol):
    """The protocol of a new connection. `make` makes the HTTP protocol, which is five times as large, later."""

    known = False
    paused = False
    __slots__ = ("_app_state", "_config", "_make", "_state", "counted", "host", "transport")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        make: Callable[..., HttpProtocol],
    ) -> None:
        self._config = config
        self._state = cast(LimitedState, server_state)
        self._app_state = app_state
        self._make = make
        self.counted = False
        self.host = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, or answer that there are too many."""
        self.transport = cast(asyncio.Transport, transport)
        if self._state.limits.per_address is not None:
            # None if the client has disconnected already.
            address = transport.get_extra_info("peername")
            self.host = address[0] if address else ""
        self._state.connections.add(self)  # type: ignore[arg-type]  # uvicorn expects its own
        if (refusal := self._state.limits.refusal(self)) is not None:
            self.transport.write(whole_refusal(refusal, self._state.default_headers))
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Replace this protocol by HTTP."""
        self._state.connections.discard(self)
        protocol = self._make(self._config, self._state, self._app_state)
        self._state.limits.replace(self, protocol)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Uncount the connection, whose client has closed it without sending anything."""
        self._state.connections.discard(self)
        self._state.limits.forget(self)

    def shutdown(self) -> None:
        """Close the connection, as the server ends."""
        self.transport.close()

    def too_slow(self) -> None:
        """Close the connection, as nothing was sent in time."""
        self.transport.close()
