"""The frames of the stream of a log, read from the bytes that come."""

from __future__ import annotations

from typing import NamedTuple

from api.cells.remote import Away

LARGEST = 64 * 1024 * 1024
"""Bytes of a frame: an execution holds half of that."""
BETWEEN = b"\n\n"


class LogFrame(NamedTuple):
    """One frame as a log sent it. One without a position moves no cursor."""

    name: str
    data: bytes
    position: int | None = None
    retry: int | None = None
    """Milliseconds."""


class FrameReader:
    """Parts the bytes of one connection into frames, wherever they are cut."""

    def __init__(self) -> None:
        self._remaining_bytes = bytearray()

    def read(self, part: bytes) -> list[LogFrame]:
        """The frames that have come whole by now.

        Raises:
            Away: it is not what a log sends.
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
    """A frame out of its lines; None where they are comments alone, or only say when to come back."""
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
