"""What a message may bring besides its body: a limit on the bytes, and trailers that are read and ignored.

HTTP lets a client surround chunks with extensions and follow them with trailers (RFC 9112, 7.1), both
without end, and before anybody has asked who it is.
"""

from __future__ import annotations

LONGEST_HEAD = 64 * 1024
"""The most bytes of a message that are no body: its head, and what surrounds chunks and follows them."""
EARNED = 16
"""What a byte of a body earns for its framing: chunks of a single byte are allowed, if unwise."""


class FramingBudget:
    """The bytes that one message may still bring besides its body."""

    __slots__ = ("_remaining", "body")

    def __init__(self) -> None:
        self._remaining = LONGEST_HEAD
        self.body = 0
        """How many bytes of bodies have come on this connection."""

    def begin(self) -> None:
        """Another message begins."""
        self._remaining = LONGEST_HEAD

    def spend(self, size: int, body: int) -> bool:
        """So many bytes have come, so many of them of the body; whether that is too much framing."""
        remaining = self._remaining + EARNED * body - (size - body)
        self._remaining = min(remaining, LONGEST_HEAD)
        return remaining < 0


class Ignored(list[tuple[bytes, bytes]]):
    """Takes the fields after a body, none of which means anything here, and keeps none."""

    def append(self, field: tuple[bytes, bytes]) -> None:
        pass


TRAILERS = Ignored()
