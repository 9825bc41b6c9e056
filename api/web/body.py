"""Reads the JSON bodies of requests, within limits of one body and of all bodies in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api.problems.problems import UnsupportedMediaType
from domain.errors import Overloaded, TooLarge

KIB = 1024
MIB = 1024 * KIB
UNCOUNTED = 16 * KIB
"""Bytes up to which a body does not count: as many small bodies as may wait for the writer fit into memory."""
MEMORY_OF_ALL = 128 * MIB
"""Bytes that all counted bodies may take together."""
JSON = re.compile(rb"application/(?:[\w.-]+\+)?(?:json|x-ndjson)\s*(?:;.*)?", re.IGNORECASE)
CHARSET = re.compile(rb';\s*charset\s*=\s*"?([^\s";]*)', re.IGNORECASE)
UTF_8 = (b"utf-8", b"utf8", b"us-ascii")


class Bodies:
    """Counts the bytes of all large bodies in memory, from their first byte to the answer."""

    def __init__(self, limit: int = MEMORY_OF_ALL) -> None:
        self.limit = limit
        self.taken = 0

    @contextmanager
    def holding(self, size: int) -> Iterator[BodyHold]:
        """Count `size` bytes while the block lasts. Raises Overloaded where all bodies together would be too large."""
        if self.taken + size > self.limit:
            raise Overloaded("There are too many large requests here already; send it again later.")
        hold = BodyHold(self, size)
        try:
            yield hold
        finally:
            hold.shrink(0)


class BodyHold:
    """The counted bytes of one body."""

    def __init__(self, bodies: Bodies, size: int) -> None:
        self._bodies = bodies
        self._size = size
        bodies.taken += size

    def shrink(self, size: int) -> None:
        """Count fewer bytes, as the body is smaller than was announced."""
        self._bodies.taken -= self._size - size
        self._size = size


def announced_size(headers: Mapping[bytes, bytes], limit: int) -> int:
    """The size of a body in bytes, by its headers; `limit` where the body is sent in chunks, of unknown size.

    Raises:
        TooLarge: the body has more bytes than `limit`.
    """
    if (length := headers.get(b"content-length")) is None:
        return limit if b"transfer-encoding" in headers else 0
    if (size := int(length)) > limit:
        raise _too_large(limit)
    return size


async def read(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Read a whole body.

    Raises:
        TooLarge: the body has more bytes than `limit`.
        UnsupportedMediaType: the body is not uncompressed JSON in UTF-8.
    """
    parts = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if part := message.get("body", b""):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise _too_large(limit)
        if not message.get("more_body", False):
            break
    if parts:
        require_json(headers)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"A body here has at most {limit} bytes.", limit=limit)


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """Raises UnsupportedMediaType where the headers name another body than uncompressed JSON in UTF-8."""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("Bodies are taken uncompressed: leave out Content-Encoding.")
    media_type = headers.get(b"content-type", b"application/json")
    if media_type == b"application/json":
        return
    if not JSON.fullmatch(media_type):
        raise UnsupportedMediaType
    charset = CHARSET.search(media_type)
    if charset is not None and charset[1].lower() not in UTF_8:
        raise UnsupportedMediaType("JSON is taken in UTF-8 only.")
