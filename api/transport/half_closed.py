"""Closes the connection of a client that is still sending (RFC 9112, 9.6).

Closing at once would answer further bytes with a reset, which may destroy the answer before the client has read it: a
client that sends too large a body would only see a broken connection.
"""

from __future__ import annotations

import asyncio

SECONDS = 5.0
"""Seconds for the client to read the answer, before the connection is closed."""
MOST_BYTES = 32 * 1024 * 1024
"""Bytes of the client that are discarded, before the connection is closed."""


class HalfClosed:
    """A transport that has sent its last byte, and discards the client's bytes until it is closed."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._remaining = MOST_BYTES
        transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(SECONDS, transport.close)

    def discard(self, data: bytes) -> None:
        """Discard bytes of the client; too many close the connection."""
        self._remaining -= len(data)
        if self._remaining < 0:
            self._transport.close()

    def release(self) -> None:
        """Cancel the close, as the connection is lost."""
        self._timer.cancel()
