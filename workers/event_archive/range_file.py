"""The file of a range: written, and read back before any event leaves the table. It takes long: call it in a thread."""

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
"""Files of others that may be where one of ours would be."""


class RangeFile(NamedTuple):
    """A file as it is in the archive, and what is kept of its blocks."""

    file: EventFile
    blocks: bytes


def tiles_under(first: int, last: int) -> list[Tile]:
    """The tiles with the leaves of positions."""
    return [(0, index) for index in range((first - 1) // WIDTH, (last - 1) // WIDTH + 1)]


def write(files: ArchiveFiles, rows: Sequence[EventRow], signed: Tiles) -> RangeFile:
    """A file with events that follow on each other, if each is the one that is in the tree, of which `signed` are the tiles.

    Raises:
        ArchiveFailed: one is not, or the file cannot be written, or has not what was written.
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
    """Whether a file has just this content, and that has just these events, as they are read later."""
    with suppress(Damaged):
        [found] = files.read_parts(name, [(0, len(content) + 1)])
        return found == content and list(events_in(found, blocks)) == list(rows)
    return False


def _names(first: int, last: int) -> Iterator[str]:
    """Where the file may be: what is there already and is not ours is left alone."""
    name = f"{FOLDER}/{first}-{last}"
    yield f"{name}.events"
    for number in range(2, MOST_NAMES + 1):
        yield f"{name}-{number}.events"
