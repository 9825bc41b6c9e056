"""Limits the bytes of a message that are no body, and ignores trailers.

HTTP allows extensions of chunks and trailers after them (RFC 9112, 7.1), both of any length, and a client sends them
before it is authenticated.
"""

from __future__ import annotations

LONGEST_HEAD = 64 * 1024
"""Bytes of a message that are no body, at most: the head, the framing of chunks and trailers."""
EARNED = 16
"""Bytes of framing that each byte of a body allows in addition, so that chunks of a single byte are accepted."""


class FramingBudget:
    """The bytes of one message that may still come besides its body."""

    __slots__ = ("_remaining", "body")

    def __init__(self) -> None:
        self._remaining = LONGEST_HEAD
        self.body = 0
        """Bytes of bodies that were received on this connection."""

    def begin(self) -> None:
        """Begin another message."""
        self._remaining = LONGEST_HEAD

    def spend(self, size: int, body: int) -> bool:
        """Count `size` received bytes, of which `body` are of the body. Return whether there is too much framing."""
        remaining = self._remaining + EARNED * body - (size - body)
        self._remaining = min(remaining, LONGEST_HEAD)
        return remaining < 0


class Ignored(list[tuple[bytes, bytes]]):
    """A list that drops the trailers appended to it, as no trailer is used."""

    def append(self, field: tuple[bytes, bytes]) -> None:
        pass


TRAILERS = Ignored()
