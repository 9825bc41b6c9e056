"""An entry of the access log, and the hash by which it follows on the one before."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

NUMBERS = struct.Struct(">Bqq")
LENGTH = struct.Struct(">I")
FORM = 1
BEFORE_ALL = b""
"""What stands for the hash before the first entry."""
EPOCH = datetime.fromtimestamp(0, UTC)
MICROSECOND = timedelta(microseconds=1)
SEPARATOR = "\n"
"""Between the ids of executions: no id has one."""


class Access(NamedTuple):
    """A read: by whom with which credential, what it showed, from where, what for. No content is in here.

    `detail` is JSON: what was asked for, and of a stream where it begins or ended. What is not known is empty.
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
    """An entry as bytes, framed so that no two have the same, all of it big-endian: the byte 1 (the version of this
    form), id and time in microseconds since 1970 with 8 bytes each; then the texts of `Access` in their order, each
    after its length in 4, the ids of executions with a line feed between them.
    """
    names = SEPARATOR.join(access.executions)
    texts = (*access[:3], names, *access[4:])
    parts = [text.encode() for text in texts]
    framed = b"".join(LENGTH.pack(len(part)) + part for part in parts)
    return NUMBERS.pack(FORM, number, (at - EPOCH) // MICROSECOND) + framed


def chain_hash(before: bytes, content: bytes) -> bytes:
    """The hash of an entry with this content, after the one with the hash `before`."""
    return sha256(before + content).digest()
