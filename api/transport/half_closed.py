"""Closes the connection of a client that still sends (RFC 9112, 9.6).

To close at once would answer what still comes with a reset, and that may destroy the answer before the
client has read it: who sends a body that is too large would only see a broken connection.
"""

from __future__ import annotations

import asyncio

SECONDS = 5.0
MOST_BYTES = 32 * 1024 * 1024


class HalfClosed:
    """A transport that sends nothing more, and whose client's bytes are thrown away for a while."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._remaining = MOST_BYTES
        transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(SECONDS, transport.close)

    def discard(self, data: bytes) -> None:
        """Take what the client sends; too much of it ends the connection."""
        self._remaining -= len(data)
        if self._remaining < 0:
            self._transport.close()

    def release(self) -> None:
        """The connection is lost."""
        self._timer.cancel()
