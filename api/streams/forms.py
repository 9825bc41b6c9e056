"""Frames as bytes, ready for the wire: server-sent events in HTTP chunks, and WebSocket frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from api.streams.entries import Entry
from api.streams.words import ALL, Words

TEXT, PING = 0x81, b"\x89\x00"
LARGEST_KEPT = 4 * 1024
"""Bytes of frames: a state may be large, and memory is counted by events."""
SEPARATORS = re.compile("[\u0085\u2028\u2029]")


class Wire(Protocol):
    """How one transport writes frames."""

    heartbeat: bytes

    def frame(self, position: int | None, name: str, data: bytes) -> bytes:
        """One frame; its position, if given, is the cursor of whoever has handled it."""
        ...

    def control(self, name: str, position: int, more: dict[str, Any]) -> bytes:
        """A frame of our own, ready to be written."""
        ...

    def packed(self, frames: Sequence[bytes]) -> bytes:
        """Frames in one write."""
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
        return self.packed([frame])

    def packed(self, frames: Sequence[bytes]) -> bytes:
        body = b"".join(frames)
        return b"%x\r\n%b\r\n" % (len(body), body) if body else b""


def _in_one_line(data: bytes) -> bytes:
    """The same JSON for clients that, against the standard, end a line at any character that
    Unicode ends one at; Python's do.
    """
    text = SEPARATORS.sub(lambda found: f"\\u{ord(found[0]):04x}", data.decode())
    return text.encode()


class SocketFrames:
    """WebSocket: one text message a frame. A server's frames are not masked, so all share them."""

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

    def packed(self, frames: Sequence[bytes]) -> bytes:
        return b"".join(frames)


@dataclass(frozen=True, eq=False)
class Form:
    """Words on a wire. There are eight, each made once: an entry keeps its frame by its form."""

    words: Words
    wire: Wire

    def frame(self, entry: Entry) -> bytes:
        """All frames of an entry; empty where it has none. Kept if they are not large, nor lack a
        state that is yet to be told.
        """
        made = entry.frames.get(self)
        if made is None:
            made = b"".join(self._frames(entry))
            if len(made) <= LARGEST_KEPT and not (self.words.told and entry.untold):
                entry.frames[self] = made
        return made

    def _frames(self, entry: Entry) -> Iterator[bytes]:
        said = self.words.say(entry)
        for name, data in said[:-1]:
            yield self.wire.frame(None, name, data)  # the cursor moves with the last
        for name, data in said[-1:]:
            yield self.wire.frame(entry.position, name, data)


SSE, SOCKET = ServerSentEvents(), SocketFrames()
FORMS = {(words, wire): Form(words, wire) for words in ALL for wire in (SSE, SOCKET)}
