"""The bodies of requests: JSON, within limits, and no more of them at once than memory bears."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api.problems import TooLarge, UnsupportedMediaType
from domain.errors import Overloaded

KIB = 1024
MIB = 1024 * KIB
SMALL = 16 * KIB
MOST = 256 * MIB
JSON = re.compile(rb"application/(?:[\w.-]+\+)?(?:json|x-ndjson)\s*(?:;.*)?", re.IGNORECASE)
CHARSET = re.compile(rb';\s*charset\s*=\s*"?([^\s";]*)', re.IGNORECASE)
UTF_8 = (b"utf-8", b"utf8", b"us-ascii")


class Bodies:
    """The bytes of all bodies whose requests wait for their answers.

    A small one is not worth counting: so many of them as may wait for the writer fit anyway.
    """

    def __init__(self, limit: int = MOST) -> None:
        self.limit = limit
        self.held = 0

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Count so many bytes. Raises Overloaded where they are too many."""
        if self.held + size > self.limit:
            raise Overloaded("There are too many large requests here already; send it again later.")
        self.held += size
        try:
            yield
        finally:
            self.held -= size


async def read(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it has more bytes than `limit`.
        UnsupportedMediaType: it is not plain JSON in UTF-8.
    """
    if (length := headers.get(b"content-length")) and int(length) > limit:
        raise _too_large(limit)
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
        _require_json(headers)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"A body here has at most {limit} bytes.", limit=limit)


def _require_json(headers: Mapping[bytes, bytes]) -> None:
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
