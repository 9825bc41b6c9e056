"""A connection that reports its state to the connection limits."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.server import ServerState

from api.transport.connection_limits import ConnectionLimits, LimitedState


class LimitedConnection(asyncio.Protocol):
    """A counted connection, which is a stranger until it has sent a valid token."""

    known = False
    counted = False
    paused = False
    host = ""
    transport: asyncio.Transport
    server_state: ServerState
    _receiving = False

    @property
    def limits(self) -> ConnectionLimits:
        """The connection limits of the server."""
        return cast(LimitedState, self.server_state).limits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # To notice at once that a stranger does not read.
        self.transport.set_write_buffer_limits(high=0)

    def show_token(self) -> None:
        """Note that the connection has sent a valid token."""
        if not (self.known or self.transport.is_closing()):
            self.known = True
            self.transport.set_write_buffer_limits()

    def too_slow(self) -> None:
        """Answer that the request was too slow, and close the connection."""

    def hold(self, size: int) -> None:
        """Count what a stranger makes the server keep."""
        if not (self.known or self.transport.is_closing()):
            self.limits.hold(self, size)

    def receive(self, size: int) -> None:
        """Note `size` bytes of a body that is not complete yet."""
        self._receiving = True
        self.limits.receive(self, size)

    def end_of_body(self) -> None:
        """Note that the body is complete, or that its request was answered without it."""
        if self._receiving:
            self._receiving = False
            self.limits.note_received(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.paused = True
        self.hold(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self.paused = False
        self.limits.release(self)
