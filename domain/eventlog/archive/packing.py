"""Packs a block of events: each of its three parts is compressed by itself, as they have little in common.

Sealed content is base64 in events, which takes a third more bytes than the ciphertext, and spoils the compression of the
text around it. So the ciphertext is taken out, decoded, and put behind the compressed parts. It stays in the text where
encoding the decoded bytes would not give the same base64.
"""

from __future__ import annotations

import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from struct import Struct

LEVEL = 9
KIND = b"\x02"
"""The first byte of a block. A block of the earlier form is compressed as a whole, and has another first byte."""
LENGTHS = Struct("<3I")
"""The lengths of the compressed parts: numbers, streams, and all other texts."""
LENGTH = Struct("<I")
TOKEN = re.compile(rb'({"\$(?:sealed|secret)":"\d+\.)([\w-]{4,}={0,2})(?="})')
TAKEN_OUT, NOTHING = b"\0", LENGTH.pack(0)
"""The mark of ciphertext that was taken out, followed by its length. The same byte in the text itself is followed by the
length 0.
"""
PLACEHOLDER = re.compile(rb"\0(.{4})", re.DOTALL)


def pack(parts: Sequence[bytes]) -> bytes:
    """Pack a block of three parts; sealed content is taken out of the last one."""
    ciphertext: list[bytes] = []

    def take_out(found: re.Match[bytes]) -> bytes:
        before, text = found.groups()
        content = _decode_base64(text)
        if not content:
            return found[0]
        ciphertext.append(content)
        return bytes(before + TAKEN_OUT + LENGTH.pack(len(content)))

    rest = TOKEN.sub(take_out, parts[2].replace(TAKEN_OUT, TAKEN_OUT + NOTHING))
    compressed = [zlib.compress(part, LEVEL) for part in (parts[0], parts[1], rest)]
    return b"".join([KIND, LENGTHS.pack(*map(len, compressed)), *compressed, *ciphertext])


def unpack(block: bytes) -> bytes:
    """Unpack a block; return its parts joined.

    Raises:
        ValueError, zlib.error, struct.error: it is not a block.
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


def _decode_base64(text: bytes) -> bytes:
    """The decoded bytes; empty where encoding them would not give the same text."""
    try:
        content = urlsafe_b64decode(text)
    except ValueError:
        return b""
    return content if urlsafe_b64encode(content) == text else b""
