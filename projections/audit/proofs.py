"""Checks proofs of RFC 9162 (sections 2.1.3.2 and 2.1.4.2), with the standard library alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256


def root_of_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """Return the root to which a path leads from the hash of a leaf. The proof is valid if it equals the known root.

    Raises:
        ValueError: the path cannot belong to that leaf in a tree of that size.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    found = leaf
    for hash_, is_left in _steps(index, size - 1, path):
        found = _above(hash_, found) if is_left else _above(found, hash_)
    return found


def roots_of_consistency(
    first: int, second: int, path: Sequence[bytes], first_root: bytes
) -> tuple[bytes, bytes]:
    """Return the two roots to which a path leads. The proof is valid if both equal the known roots.

    Raises:
        ValueError: the path cannot belong to trees of these sizes.
    """
    hashes = _with_start(first, second, path, first_root)
    if first == second:
        return first_root, first_root
    index, last = first - 1, second - 1
    while index % 2:
        index, last = index // 2, last // 2
    before = after = hashes[0]
    for hash_, is_left in _steps(index, last, hashes[1:]):
        if is_left:
            before, after = _above(hash_, before), _above(hash_, after)
        else:
            after = _above(after, hash_)
    return before, after


def _steps(index: int, last: int, path: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the hashes of a path from one of `last` + 1 nodes up to the root, and whether each is a left sibling.

    Raises:
        ValueError: the path is too long or too short.
    """
    for hash_ in path:
        if last == 0:
            raise ValueError("the path is too long")
        is_left = bool(index % 2) or index == last
        while is_left and index % 2 == 0 and index:
            index, last = index // 2, last // 2
        index, last = index // 2, last // 2
        yield hash_, is_left
    if last != 0:
        raise ValueError("the path is too short")


def _with_start(first: int, second: int, path: Sequence[bytes], first_root: bytes) -> list[bytes]:
    """Return the path including its first hash, which paths omit if it is the root of the smaller tree (RFC 9162)."""
    if not 0 < first <= second:
        raise ValueError(f"{first} leaves do not come before {second}")
    if first == second and path:
        raise ValueError("the path is too long")
    hashes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if first < second and not hashes:
        raise ValueError("the path is too short")
    return hashes


def _above(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()
