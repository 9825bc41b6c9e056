"""How the bytes of a block are stored: each of its parts is compressed by itself, as they have little in common, and ciphertext,
which cannot be compressed, stands behind them as it is.

What is sealed stands in events as base64, which takes a third more room than the bytes, and spoils the compression of the
words around it. So these bytes are taken out, where base64 makes the same text of them again.
"""

from __future__ import annotations

import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from struct import Struct

LEVEL = 9
KIND = b"\x02"
"""What a block begins with; one of an earlier form is compressed as a whole, and begins with another byte."""
LENGTHS = Struct("<3I")
"""Of the compressed parts: numbers, streams, and all the rest."""
LENGTH = Struct("<I")
TOKEN = re.compile(rb'({"\$(?:sealed|secret)":"\d+\.)([\w-]{4,}={0,2})(?="})')
TAKEN_OUT, NOTHING = b"\0", LENGTH.pack(0)
"""Stands where bytes were taken out, before their length; where it stood by itself, it is followed by no length."""
PLACEHOLDER = re.compile(rb"\0(.{4})", re.DOTALL)


def pack(parts: Sequence[bytes]) -> bytes:
    """A block of three parts, the last of which may have sealed content."""
    ciphertext: list[bytes] = []

    def take_out(found: re.Match[bytes]) -> bytes:
        before, text = found.groups()
        content = _bytes_of(text)
        if not content:
            return found[0]
        ciphertext.append(content)
        return bytes(before + TAKEN_OUT + LENGTH.pack(len(content)))

    rest = TOKEN.sub(take_out, parts[2].replace(TAKEN_OUT, TAKEN_OUT + NOTHING))
    compressed = [zlib.compress(part, LEVEL) for part in (parts[0], parts[1], rest)]
    return b"".join([KIND, LENGTHS.pack(*map(len, compressed)), *compressed, *ciphertext])


def unpack(block: bytes) -> bytes:
    """The parts of a block, one behind the other.

    Raises:
        ValueError, zlib.error, struct.error: it is no block.
    """
    if not block.startswith(KIND):
        return zlib.decompress(block)
    offset, parts = len(KIND) + LENGTHS.size, list[bytes]()
    for length in LENGTHS.unpack_from(block, len(KIND)):
        parts.append(zlib.decompress(block[offset : offset + length]))
        offset += length

    def put_back(found: re.Match[bytes]) -> bytes:
        nonlocal offset
        [length] = LENGTH.unpack(found[1])
        if not length:
            return TAKEN_OUT
        content = block[offset : offset + length]
        offset += length
        return urlsafe_b64encode(content)

    parts[2] = PLACEHOLDER.sub(put_back, parts[2])
    if offset != len(block):
        raise ValueError("it has another size")
    return b"".join(parts)


def _bytes_of(text: bytes) -> bytes:
    """What it is the base64 of; nothing where it is that of none."""
    try:
        content = urlsafe_b64decode(text)
    except ValueError:
        return b""
    return content if urlsafe_b64encode(content) == text else b""
