"""The web server: uvicorn with the protocols of this service, and with an orderly shutdown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from api.streaming.hub import Hub
from api.system import System
from api.transport.connection_limits import (
    ConnectionLimits,
    LimitedState,
    backlog,
)
from api.transport.direct import DirectHttpProtocol, DirectPath
from api.transport.newcomer import Newcomer
from api.transport.protocols import NOSNIFF
from api.transport.websocket_protocol import WebSocketProtocol

GRACE = 30
"""Seconds for requests to end at shutdown."""
KEEP_ALIVE = 5
"""Seconds after which a connection is closed that nothing is asked on."""
LARGEST_MESSAGE = 64 * 1024
"""Bytes of the largest WebSocket message that a client may send."""


class Server(uvicorn.Server):
    """Uvicorn that ends all streams before it waits for requests at shutdown. `closes` are called then, too."""

    def __init__(
        self,
        config: uvicorn.Config,
        hub: Hub,
        limits: ConnectionLimits,
        closes: Sequence[Callable[[], object]] = (),
    ) -> None:
        super().__init__(config)
        self.asked_to_end = False
        """Whether a signal has come, after which the service does not begin again."""
        self.server_state = LimitedState(limits)
        self._hub = hub
        self._closes = closes
        hub.on_other_log = self._end

    async def on_tick(self, counter: int) -> bool:
        # Uvicorn counts the seconds between two calls of `every_second` by the time of day: after a leap ahead and
        # back there would be none for as long. Its ticks come ten times a second, and it looks at each tenth.
        self.last_notified = 0.0
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.asked_to_end = True
        self._hub.close()
        self._call_closes()
        super().handle_exit(sig, frame)
        # Uvicorn would end by raising the signal again, before the database is stopped in order.
        self._captured_signals.clear()

    def end_with_streams(self) -> None:
        """End all streams, then the server."""
        self._hub.close()
        self._end()

    def _end(self) -> None:
        self._call_closes()
        self.should_exit = True

    def _call_closes(self) -> None:
        for close in self._closes:
            close()


def server_of(
    config: uvicorn.Config,
    system: System,
    limits: ConnectionLimits,
    close_others: Callable[[], object] = lambda: None,
) -> Server:
    """Make the server of a system. It ends where the log becomes another one, or gets another master key.

    `close_others` ends the streams of other logs.
    """
    server = Server(config, system.hub, limits, (system.dispatcher.close, close_others))
    system.key_monitor.on_changed = server.end_with_streams
    return server


def make_config(
    app: ASGIApp,
    direct: DirectPath,
    of_log: str | None,
    every_second: Callable[[], Awaitable[None]] | None = None,
    log_name: str | None = None,
) -> uvicorn.Config:
    """How uvicorn serves the application of a log, which may have a name, or of several, which say by themselves which
    log an answer is of; `every_second` is called once a second.
    """
    of = {"log-id": of_log, "log-name": log_name}
    named = [(header, value) for header, value in of.items() if value]
    protocol: Any = partial(Newcomer, make=partial(DirectHttpProtocol, direct=direct))
    return uvicorn.Config(
        app,
        callback_notify=every_second,
        timeout_notify=1,
        backlog=backlog(),
        http=protocol,
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,
        ws_max_size=LARGEST_MESSAGE,
        ws_ping_interval=None,  # the heartbeat of the hub is for all streams
        access_log=False,
        proxy_headers=False,  # admission reads them, of trusted proxies
        server_header=False,
        headers=[NOSNIFF, *named],
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
