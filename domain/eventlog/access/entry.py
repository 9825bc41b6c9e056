"""An entry of the access log, and its hash, which covers the hash of the entry before."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

NUMBERS = struct.Struct(">Bqq")
LENGTH = struct.Struct(">I")
FORM = 1
"""The version of the form of `entry_bytes`."""
BEFORE_ALL = b""
"""The hash before the first entry."""
EPOCH = datetime.fromtimestamp(0, UTC)
MICROSECOND = timedelta(microseconds=1)
SEPARATOR = "\n"
"""Stands between the ids of executions; no id contains it."""


class Access(NamedTuple):
    """A read: actor, credential, operation, the executions that it showed, address and purpose. It has no content of theirs.

    `detail` is JSON: the parameters of the request, and the begin or end of a stream. Unknown texts are empty.
    """

    actor: str
    credential: str
    operation: str
    executions: tuple[str, ...] = ()
    address: str = ""
    purpose: str = ""
    correlation: str = ""
    detail: str = ""


class AccessEntry(NamedTuple):
    """A recorded read: its place in the chain, from 1, its time, and its hash."""

    id: int
    at: datetime
    access: Access
    hash: bytes


def entry_bytes(number: int, at: datetime, access: Access) -> bytes:
    """Encode an entry; no two entries have the same bytes.

    All numbers are big-endian: the byte 1 (`FORM`), the id and the time in microseconds since 1970 in 8 bytes each; then
    the texts of `Access` in their order, each after its length in 4 bytes, the ids of executions joined by line feeds.
    """
    names = SEPARATOR.join(access.executions)
    texts = (*access[:3], names, *access[4:])
    parts = [text.encode() for text in texts]
    framed = b"".join(LENGTH.pack(len(part)) + part for part in parts)
    return NUMBERS.pack(FORM, number, (at - EPOCH) // MICROSECOND) + framed


def chain_hash(before: bytes, content: bytes) -> bytes:
    """The hash of an entry with this content that follows on an entry with the hash `before`."""
    return sha256(before + content).digest()
