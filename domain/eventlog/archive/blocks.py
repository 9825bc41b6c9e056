"""Encodes events as a file of the archive: blocks of 128 consecutive events, each packed by itself (`packing.py`).

A file begins with `MAGIC`; before each block is its length in 4 bytes. An unpacked block has the number of its events, the
position of the first one, all versions, all times in microseconds, each as the difference from the one before, the lengths
of all streams, types, metas and states, and then their bytes. All numbers are little-endian. Values of one column are side
by side, as that halves the size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import accumulate
from struct import Struct
from typing import NamedTuple

from domain.eventlog.archive.packing import pack, unpack
from domain.eventlog.codec import EventRow

MAGIC = b"executions events 2\n"
"""The first bytes of a file, of the same length in all forms. Blocks of form 1 are compressed as a whole."""
EVENTS = 128
"""The number of events in each block except the last one of a file."""
LENGTH = Struct("<I")
HEAD = Struct("<Iq")
DIGEST_BYTES = 32
ENTRY = LENGTH.size + DIGEST_BYTES
"""Bytes of an entry of the index of a file: the length and the SHA-256 of a block. The table stores the index."""
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
UNREADABLE = (zlib.error, struct.error, ValueError, IndexError, OverflowError)


class Block(NamedTuple):
    """The offset of a block in its file, its length, and its SHA-256."""

    start: int
    length: int
    digest: bytes


def blocks_of(index: bytes) -> list[Block]:
    """The blocks of a file, by its index.

    Raises:
        ValueError: the index is cut short.
    """
    if len(index) % ENTRY:
        raise ValueError("the index of its blocks is cut short")
    found, start = [], len(MAGIC)
    for offset in range(0, len(index), ENTRY):
        start += LENGTH.size
        [length] = LENGTH.unpack_from(index, offset)
        found.append(Block(start, length, index[offset + LENGTH.size : offset + ENTRY]))
        start += length
    return found


def file_of(rows: Sequence[EventRow]) -> tuple[bytes, bytes]:
    """Encode events with consecutive positions as a file; return its bytes and its index."""
    parts, index = [MAGIC], []
    for start in range(0, len(rows), EVENTS):
        block = pack(_encode(rows[start : start + EVENTS]))
        parts += [LENGTH.pack(len(block)), block]
        index += [LENGTH.pack(len(block)), sha256(block).digest()]
    return b"".join(parts), b"".join(index)


def events_of(block: bytes, wanted: Iterable[int] | None = None) -> Iterator[EventRow]:
    """The events of an unpacked block: all, or those at the indexes in `wanted`, from 0.

    Raises:
        ValueError: it is not an unpacked block.
    """
    try:
        yield from _decode(block, wanted)
    except UNREADABLE as error:
        raise ValueError(f"it has no events: {error}") from error


def events_in(content: bytes, index: bytes) -> Iterator[EventRow]:
    """All events of a file, each block of which is compared with the index.

    Raises:
        ValueError: a block is not the one in the index, or cannot be read.
    """
    for block in blocks_of(index):
        part = content[block.start : block.start + block.length]
        if sha256(part).digest() != block.digest:
            raise ValueError("it has other blocks")
        yield from events_of(open_block(part))


def open_block(block: bytes) -> bytes:
    """Unpack a block.

    Raises:
        ValueError: it is not a block.
    """
    try:
        return unpack(block)
    except UNREADABLE as error:
        raise ValueError(str(error)) from error


def _encode(rows: Sequence[EventRow]) -> tuple[bytes, bytes, bytes]:
    """The three parts of a block: numbers, streams, and all other texts."""
    count, times = len(rows), [(row.at - EPOCH) // MICROSECOND for row in rows]
    steps = [after - before for before, after in zip([0, *times], times, strict=False)]
    texts = [
        [row.stream.encode() for row in rows],
        [row.type.encode() for row in rows],
        [row.meta.encode() for row in rows],
        [bytes(row.data) for row in rows],
    ]
    parts = [HEAD.pack(count, rows[0].position)]
    parts += [
        struct.pack(f"<{count}q", *(row.version for row in rows)),
        struct.pack(f"<{count}q", *steps),
    ]
    parts += [struct.pack(f"<{count}I", *map(len, column)) for column in texts]
    streams, *rest = (b"".join(column) for column in texts)
    return b"".join(parts), streams, b"".join(rest)


def _decode(block: bytes, wanted: Iterable[int] | None) -> Iterator[EventRow]:
    count, first = HEAD.unpack_from(block)
    offset = HEAD.size
    versions = struct.unpack_from(f"<{count}q", block, offset)
    times = list(accumulate(struct.unpack_from(f"<{count}q", block, offset + 8 * count)))
    offset += 16 * count
    lengths = [
        struct.unpack_from(f"<{count}I", block, offset + 4 * count * nth) for nth in range(4)
    ]
    ends, end = [], offset + 16 * count
    for column in lengths:
        ends.append([*accumulate(column, initial=end)])
        end = ends[-1][-1]
    if end != len(block):
        raise ValueError("it is not whole")
    for nth in range(count) if wanted is None else wanted:
        stream, type_, meta, data = (block[column[nth] : column[nth + 1]] for column in ends)
        at = EPOCH + times[nth] * MICROSECOND
        row = first + nth, versions[nth], at, stream.decode(), type_.decode(), meta.decode(), data
        yield EventRow(*row)


def encode_positions(positions: Sequence[int]) -> bytes:
    """Encode ascending positions as differences in LEB128, of a few bytes each."""
    found = bytearray()
    for before, position in zip([0, *positions], positions, strict=False):
        step = position - before
        while step > 127:
            found.append(step & 127 | 128)
            step >>= 7
        found.append(step)
    return bytes(found)


def positions_of(encoded: bytes) -> list[int]:
    """Decode positions that `encode_positions` has encoded.

    Raises:
        ValueError: the last one is cut short.
    """
    found: list[int] = []
    position = step = shift = 0
    for byte in encoded:
        step |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            position += step
            found.append(position)
            step = shift = 0
    if shift:
        raise ValueError("the last position is cut short")
    return found
