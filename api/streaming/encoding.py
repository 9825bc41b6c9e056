"""Frames as bytes on the wire: server-sent events in HTTP chunks, and WebSocket frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import orjson

from api.streaming.frames import FORMATS, Format
from api.streaming.log.entry import Chunk, Entry
from domain.lru import LruCache

TEXT, PING = 0x81, b"\x89\x00"
LARGEST_CACHED = 4 * 1024
"""Bytes of the largest frame that is cached."""
FRAME_BYTES, CHUNK_BYTES = 4 * 1024 * 1024, 8 * 1024 * 1024
"""Bytes of frames and of chunks that each encoder caches."""
OVERHEAD = 100
"""Bytes of memory that a cached frame takes in addition to its own."""
FLUSH_AT = 64 * 1024
"""Bytes of frames from which on they are sent in one write."""
SEPARATORS = re.compile("[\u0085\u2028\u2029]")


class Wire(Protocol):
    """The encoding of frames for one kind of transport."""

    heartbeat: bytes

    def frame(self, position: int | None, name: str, data: bytes) -> bytes:
        """Encode a frame. The position, if given, is the cursor of a client that has handled the frame."""
        ...

    def control(self, name: str, position: int, more: dict[str, Any]) -> bytes:
        """Encode a frame about the stream, ready to be written."""
        ...

    def pack(self, frames: Sequence[bytes]) -> bytes:
        """Join frames into the bytes of one write."""
        ...


class ServerSentEvents:
    """`text/event-stream`, each write one chunk of HTTP/1.1."""

    # No blank line: some clients would make an empty event of it.
    heartbeat = b"c\r\n: heartbeat\n\r\n"

    def frame(self, position: int | None, name: str, data: bytes) -> bytes:
        data = data if data.isascii() else _in_one_line(data)
        if position is None:
            return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (position, name.encode(), data)

    def control(self, name: str, position: int, more: dict[str, Any]) -> bytes:
        retry = b"retry: %d\n" % more["retry"] if "retry" in more else b""
        data = orjson.dumps({"position": position, **more})
        frame = b"id: %d\nevent: %b\n%bdata: %b\n\n" % (position, name.encode(), retry, data)
        return self.pack([frame])

    def pack(self, frames: Sequence[bytes]) -> bytes:
        body = b"".join(frames)
        return b"%x\r\n%b\r\n" % (len(body), body) if body else b""


def _in_one_line(data: bytes) -> bytes:
    """Escape the line separators of Unicode in JSON: some clients, those of Python among them, end a line there,
    against the standard of server-sent events.
    """
    text = SEPARATORS.sub(lambda found: f"\\u{ord(found[0]):04x}", data.decode())
    return text.encode()


class WebSocketFrames:
    """WebSocket, one text message a frame. Frames of a server are not masked, so subscribers share the bytes."""

    heartbeat = PING

    def frame(self, position: int | None, name: str, data: bytes) -> bytes:
        size = len(data)
        if size < 126:
            return bytes((TEXT, size)) + data
        if size < 65_536:
            return bytes((TEXT, 126)) + size.to_bytes(2, "big") + data
        return bytes((TEXT, 127)) + size.to_bytes(8, "big") + data

    def control(self, name: str, position: int, more: dict[str, Any]) -> bytes:
        return self.frame(
            position, name, orjson.dumps({"type": name, "position": position, **more})
        )

    def pack(self, frames: Sequence[bytes]) -> bytes:
        return b"".join(frames)


def _bytes_of(chunks: list[Chunk]) -> int:
    return sum(len(chunk.data) for chunk in chunks)


class Encoder:
    """Encodes entries in one format for one wire, and caches the bytes for all subscribers."""

    def __init__(self, format_: Format, wire: Wire) -> None:
        self.format = format_
        self.wire = wire
        self._frames: LruCache[int, bytes] = LruCache(
            FRAME_BYTES, lambda encoded: len(encoded) + OVERHEAD
        )
        self._chunks: LruCache[tuple[int, int], list[Chunk]] = LruCache(CHUNK_BYTES, _bytes_of)

    def frame(self, entry: Entry) -> bytes:
        """The cached bytes of all frames of an entry; empty where the entry has no frame."""
        encoded = self._frames.get(entry.serial)
        if encoded is None:
            encoded = self.encode(entry)
            if len(encoded) <= LARGEST_CACHED:
                self._frames.put(entry.serial, encoded)
                self._frames.trim()
        return encoded

    def forget(self) -> None:
        """Clear the caches."""
        self._frames.clear()
        self._chunks.clear()

    def encode(self, entry: Entry) -> bytes:
        """Encode all frames of an entry. Only the last frame carries the position."""
        frames, wire = self.format.frames(entry), self.wire
        if not frames:
            return b""
        last = wire.frame(entry.position, *frames[-1])
        if len(frames) == 1:
            return last
        return b"".join([*(wire.frame(None, *frame) for frame in frames[:-1]), last])

    def chunks(self, entries: Sequence[Entry]) -> list[Chunk]:
        """The cached chunks of entries that follow each other in the log."""
        key = entries[0].serial, entries[-1].serial
        chunks = self._chunks.get(key)
        if chunks is None:
            chunks = list(join(self.wire, ((self.encode(each), each.position) for each in entries)))
            self._chunks.put(key, chunks)
            self._chunks.trim()
        return chunks


def join(wire: Wire, frames: Iterable[tuple[bytes | None, int]]) -> Iterator[Chunk]:
    """Join frames into as few chunks as possible, each of at least `FLUSH_AT` bytes.

    Each frame comes with the cursor after it, and is None or empty where nothing is sent. The last chunk may
    be smaller, or have no data and only move the cursor.
    """
    parts: list[bytes] = []
    size = 0
    unsent: int | None = None
    for frame, cursor in frames:
        unsent = cursor
        if frame:
            parts.append(frame)
            size += len(frame)
            if size >= FLUSH_AT:
                yield Chunk(wire.pack(parts), cursor)
                parts, size, unsent = [], 0, None
    if unsent is not None:
        yield Chunk(wire.pack(parts), unsent)


SSE, WEBSOCKET = ServerSentEvents(), WebSocketFrames()
ENCODERS: dict[tuple[Format, Wire], Encoder] = {
    (format_, wire): Encoder(format_, wire) for format_ in FORMATS for wire in (SSE, WEBSOCKET)
}
