"""Writes the archive file of a range, and reads it back. Its functions block for long, so call them in a thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple

from domain.errors import Damaged
from domain.eventlog.archive.blocks import events_in, file_of
from domain.eventlog.archive.files import ArchiveFailed, ArchiveFiles
from domain.eventlog.codec import EventRow
from domain.retention.archived_range import EventFile
from projections.audit.leaf import leaf_bytes
from projections.audit.merkle import leaf_hash
from projections.audit.tiles import WIDTH, Tile, Tiles, Tree, hashes_of

FOLDER = "events"
MOST_NAMES = 100
"""Names that are tried for a file, as other files may have the first ones."""


class RangeFile(NamedTuple):
    """A file in the archive, and the index of its blocks."""

    file: EventFile
    blocks: bytes


def tiles_under(first: int, last: int) -> list[Tile]:
    """The tiles that have the leaves of the positions from `first` to `last`."""
    return [(0, index) for index in range((first - 1) // WIDTH, (last - 1) // WIDTH + 1)]


def write(files: ArchiveFiles, rows: Sequence[EventRow], signed: Tiles) -> RangeFile:
    """Write a file with events of consecutive positions, after a comparison of each event with its leaf in the tree.

    `signed`: the tiles of the tree that have these leaves.

    Raises:
        ArchiveFailed: an event differs from its leaf, or the file cannot be written, or differs when it is read back.
    """
    leaves = [leaf_hash(leaf_bytes(row)) for row in rows]
    for row, leaf in zip(rows, leaves, strict=True):
        tile, place = divmod(row.position - 1, WIDTH)
        if hashes_of(signed.get((0, tile), b""))[place : place + 1] != [leaf]:
            raise ArchiveFailed(f"event {row.position} is not the one that is in the tree")
    content, blocks = file_of(rows)
    tree = Tree()
    tree.append(leaves)
    first, last, digest = rows[0].position, rows[-1].position, sha256(content).hexdigest()
    for name in _names(first, last):
        files.put(name, content)
        if _has(files, name, content, rows, blocks):
            about = name, first, last, len(content), digest, tree.root().hex()
            return RangeFile(EventFile(*about), blocks)
    raise ArchiveFailed(f"there are {MOST_NAMES} other files where {name} would be")


def _has(
    files: ArchiveFiles, name: str, content: bytes, rows: Sequence[EventRow], blocks: bytes
) -> bool:
    """Whether a file, read back, has exactly this content, and the content exactly these events."""
    with suppress(Damaged):
        [found] = files.read_parts(name, [(0, len(content) + 1)])
        return found == content and list(events_in(found, blocks)) == list(rows)
    return False


def _names(first: int, last: int) -> Iterator[str]:
    """The names that are tried for a file, in order, as an existing file with other content is never replaced."""
    name = f"{FOLDER}/{first}-{last}"
    yield f"{name}.events"
    for number in range(2, MOST_NAMES + 1):
        yield f"{name}-{number}.events"
