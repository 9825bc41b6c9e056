"""Parses the frames of a log's stream from received bytes."""

from __future__ import annotations

from typing import NamedTuple

from api.cells.remote import Away

LARGEST = 64 * 1024 * 1024
"""Bytes of the largest frame: an execution has at most half of them."""
BETWEEN = b"\n\n"


class LogFrame(NamedTuple):
    """One frame of a log. A frame without a position does not move the cursor."""

    name: str
    data: bytes
    position: int | None = None
    retry: int | None = None
    """Milliseconds after which the client should reconnect."""


class FrameReader:
    """Splits the bytes of one connection into frames, which may be spread over several reads."""

    def __init__(self) -> None:
        self._remaining_bytes = bytearray()

    def read(self, part: bytes) -> list[LogFrame]:
        """Add bytes, and return the frames that are complete now.

        Raises:
            Away: the bytes are not the stream of a log.
        """
        seen = max(len(self._remaining_bytes) - 1, 0)
        self._remaining_bytes += part
        end = self._remaining_bytes.rfind(BETWEEN, seen)
        if end < 0:
            if len(self._remaining_bytes) > LARGEST:
                raise Away(f"it sends a frame of more than {LARGEST} bytes")
            return []
        blocks = bytes(self._remaining_bytes[:end]).split(BETWEEN)
        del self._remaining_bytes[: end + len(BETWEEN)]
        return [frame for block in blocks if (frame := _frame(block)) is not None]


def _frame(block: bytes) -> LogFrame | None:
    """Parse the lines of a frame; None where they are only comments, or only a time to reconnect."""
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\n"):
        name, _, value = line.partition(b": ")
        fields[name] = value  # a comment is a field without a name
    if b"data" not in fields:
        return None
    try:
        position, retry = (_number(fields.get(name)) for name in (b"id", b"retry"))
        kind = fields[b"event"].decode("ascii")
    except (LookupError, ValueError):
        raise Away("it sends what no log does") from None
    if not fields[b"data"].startswith(b"{"):
        raise Away("it sends what no log does")
    return LogFrame(kind, fields[b"data"], position, retry)


def _number(text: bytes | None) -> int | None:
    return None if text is None else int(text)
