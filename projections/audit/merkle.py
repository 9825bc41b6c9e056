"""The Merkle tree of RFC 9162 (section 2.1), computed from the hashes of its nodes. No I/O.

A subtree is complete if it has 2^level leaves and begins at a multiple of that number; `(level, index)` names the subtree
that begins at leaf `index · 2^level`. Hashes have 32 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256().digest()
Node = tuple[int, int]
GetNode = Callable[[Node], bytes]
"""Returns the hash of a complete subtree."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf with this content."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two nodes."""
    return pair_hash(left + right)


def pair_hash(pair: bytes) -> bytes:
    """Return the hash of the node above two nodes, whose hashes are concatenated in `pair`."""
    return sha256(b"\1" + pair).digest()


def join(hashes: Sequence[bytes]) -> bytes:
    """Return the hash of the node above several nodes, whose number must be a power of two."""
    while len(hashes) > 1:
        hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


def root(size: int, node: GetNode) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return _of_range(0, size, node) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, node: GetNode) -> list[bytes]:
    """Return the inclusion path of a leaf in the tree of the first `size` leaves, from the leaf upwards.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise IndexError(index)
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _left_size(end - begin)
        if index < middle:
            path.append(_of_range(middle, end, node))
            end = middle
        else:
            path.append(_of_range(begin, middle, node))
            begin = middle
    return path[::-1]


def consistency_path(first: int, second: int, node: GetNode) -> list[bytes]:
    """Return the consistency path from the tree of the first `first` leaves to that of the first `second` leaves.

    Raises:
        IndexError: not 0 < first <= second.
    """
    if not 0 < first <= second:
        raise IndexError(first)
    path: list[bytes] = []
    begin, end, whole = 0, second, True
    while first < end:
        middle = begin + _left_size(end - begin)
        if first <= middle:
            path.append(_of_range(middle, end, node))
            end = middle
        else:
            path.append(_of_range(begin, middle, node))
            begin, whole = middle, False
    if not whole:
        path.append(_of_range(begin, end, node))
    return path[::-1]


def _left_size(leaves: int) -> int:
    """Return the number of leaves in the left subtree: the largest power of two below `leaves`."""
    return 1 << (leaves - 1).bit_length() - 1


def _of_range(begin: int, end: int, node: GetNode) -> bytes:
    leaves = end - begin
    if leaves & (leaves - 1) == 0 and begin % leaves == 0:
        level = leaves.bit_length() - 1
        return node((level, begin >> level))
    middle = begin + _left_size(leaves)
    return node_hash(_of_range(begin, middle, node), _of_range(middle, end, node))
