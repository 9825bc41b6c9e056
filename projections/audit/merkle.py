"""The Merkle tree of RFC 9162 (section 2.1) over any nodes at hand. No I/O.

A subtree is complete if it has 2^level leaves and begins at a multiple of that; `(level, index)` names
the one that begins at leaf `index · 2^level`. Hashes have 32 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256().digest()
Node = tuple[int, int]
GetNode = Callable[[Node], bytes]
"""Gives the hash of a complete subtree."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf with this content."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above two others."""
    return pair_hash(left + right)


def pair_hash(pair: bytes) -> bytes:
    """The same, of both in a row."""
    return sha256(b"\1" + pair).digest()


def join(hashes: Sequence[bytes]) -> bytes:
    """The hash above as many nodes as a power of two."""
    while len(hashes) > 1:
        hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


def root(size: int, node: GetNode) -> bytes:
    """The root of the tree of the first `size` leaves."""
    return _of_range(0, size, node) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, node: GetNode) -> list[bytes]:
    """The hashes that lead from a leaf to the root of the first `size` leaves, from the leaf upwards.

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
    """The hashes that show that the tree of the first `first` leaves became that of `second`.

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
    """The leaves of the left subtree: the largest power of two below them all."""
    return 1 << (leaves - 1).bit_length() - 1


def _of_range(begin: int, end: int, node: GetNode) -> bytes:
    leaves = end - begin
    if leaves & (leaves - 1) == 0 and begin % leaves == 0:
        level = leaves.bit_length() - 1
        return node((level, begin >> level))
    middle = begin + _left_size(leaves)
    return node_hash(_of_range(begin, middle, node), _of_range(middle, end, node))
