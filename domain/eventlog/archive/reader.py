"""Reads events from files of the archive. Its functions block, so call them in a thread.

Each block is compared with its digest, so a part of a file can be read and verified.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import groupby
from threading import Lock
from typing import Any, NamedTuple

from domain.errors import Damaged
from domain.eventlog.archive.blocks import EVENTS, Block, blocks_of, events_of, open_block
from domain.eventlog.archive.files import ArchiveFailed, damaged_file
from domain.eventlog.archive.limited_archive import LimitedArchive
from domain.eventlog.codec import EventRow
from domain.lru import LruCache

CACHED = 32 * 1024 * 1024
"""Bytes of unpacked blocks that are cached."""

RANGES = """SELECT first, last, file, blocks, (SELECT url FROM log_archive_place)
    FROM event_archives WHERE last >= %b AND first <= %b ORDER BY first"""
"""The files with the positions in a range: the rows that `read_events` takes."""


class _Range(NamedTuple):
    """A row of `RANGES`: a file with the events of a range of positions, the index of its blocks, and the archive."""

    first: int
    last: int
    file: str
    blocks: bytes
    location: str | None


class _BlockCache:
    """Unpacked blocks of all logs, by their digests."""

    def __init__(self) -> None:
        self._blocks = LruCache[bytes, bytes](CACHED, len)
        self._lock = Lock()

    def get(self, digest: bytes) -> bytes | None:
        with self._lock:
            return self._blocks.get(digest)

    def put(self, digest: bytes, block: bytes) -> None:
        with self._lock:
            self._blocks.put(digest, block)
            self._blocks.trim()


BLOCK_CACHE = _BlockCache()


def read_events(rows: Sequence[Sequence[Any]], positions: Sequence[int]) -> list[EventRow]:
    """The events at ascending positions; `rows` are the rows of `RANGES` from the first to the last position.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    found, ranges = list[EventRow](), [_Range(*row) for row in rows]
    firsts = [range_.first for range_ in ranges]
    for nth, group in groupby(positions, key=lambda position: bisect_right(firsts, position) - 1):
        wanted = list(group)
        if nth < 0 or wanted[-1] > ranges[nth].last or ranges[nth].location is None:
            raise Damaged(
                f"Event {wanted[-1]} cannot be read.",
                reason="it is neither in the table nor in a file of the archive",
            )
        found += _read_file(ranges[nth], wanted)
    return found


@lru_cache(maxsize=64)
def _archive(location: str) -> LimitedArchive:
    return LimitedArchive(location)


def _read_file(range_: _Range, positions: Sequence[int]) -> Iterator[EventRow]:
    by_block = {
        nth: [position - range_.first - nth * EVENTS for position in group]
        for nth, group in groupby(positions, key=lambda p: (p - range_.first) // EVENTS)
    }
    try:
        blocks = blocks_of(range_.blocks)
        contents = _read_blocks(
            _archive(str(range_.location)), range_.file, [blocks[nth] for nth in by_block]
        )
        for (nth, indexes), content in zip(by_block.items(), contents, strict=True):
            first = range_.first + nth * EVENTS
            for index, row in zip(indexes, events_of(content, indexes), strict=True):
                if row.position != first + index:
                    raise ValueError("it has events of other positions")
                yield row
    except (ValueError, IndexError, ArchiveFailed) as error:
        raise damaged_file(range_.file, str(error)) from error


def _read_blocks(archive: LimitedArchive, file: str, blocks: Sequence[Block]) -> list[bytes]:
    unpacked = {
        block.digest: content for block in blocks if (content := BLOCK_CACHE.get(block.digest))
    }
    missing = [block for block in blocks if block.digest not in unpacked]
    if missing:
        with archive.read_slot() as files:
            parts = files.read_parts(file, [block[:2] for block in missing])
        for block, part in zip(missing, parts, strict=True):
            if sha256(part).digest() != block.digest:
                raise ValueError("its bytes have another digest")
            unpacked[block.digest] = open_block(part)
            BLOCK_CACHE.put(block.digest, unpacked[block.digest])
    return [unpacked[block.digest] for block in blocks]
