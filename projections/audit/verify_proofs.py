"""Checks signatures and Merkle proofs with the standard library alone. In a bundle it is a part of `verify.py`."""

from __future__ import annotations

import base64
import hashlib
import struct
from datetime import datetime, timezone
from typing import Any


class Wrong(Exception):
    """A check of the bundle has failed."""


EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - Python 3.10 has no `UTC`

# --- Ed25519 (RFC 8032, 5.1) -------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]


def _decode(text: bytes) -> Point | None:
    y = int.from_bytes(text, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def _sum(one: Point, other: Point) -> Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % P
    b = (one[1] + one[0]) * (other[1] + other[0]) % P
    c = 2 * one[3] * other[3] * D % P
    d = 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(number: int, point: Point) -> Point:
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = _sum(result, point)
        point, number = _sum(point, point), number >> 1
    return result


def _encode(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature is that of an Ed25519 key for a message."""
    key, base = _decode(public), _decode(bytes([0x58]) + bytes([0x66]) * 31)
    number = int.from_bytes(signature[32:], "little")
    if key is None or base is None or len(signature) != 64 or number >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    negative = P - key[0], key[1], key[2], P - key[3]
    return _encode(_sum(_times(number, base), _times(challenge, negative))) == signature[:32]


# --- signed notes (C2SP) -----------------------------------------------------


def open_note(note: bytes, public_key: str) -> str:
    """Return the text of a note that this key has signed."""
    name, key_id, encoded = public_key.split("+", 2)
    public = base64.b64decode(encoded, validate=True)
    known = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if key_id != known.hex() or len(public) != 33 or public[0] != 1:
        raise Wrong("the public key is none")
    text, _, line = note.decode().rpartition("\n\n\u2014 ")
    signature = base64.b64decode(line.partition(" ")[2].strip())
    if f"{text}\n\n\u2014 {name} {base64.b64encode(signature).decode()}\n".encode() != note:
        raise Wrong(f"there is no signature of {name}")
    if signature[:4] != known or not is_signed(public[1:], f"{text}\n".encode(), signature[4:]):
        raise Wrong("the signature is not that of the public key")
    return text


# --- the tree (RFC 9162) and its leaves --------------------------------------


def root_of(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """Return the root to which a path leads from a leaf."""
    last, found = size - 1, hashlib.sha256(b"\0" + leaf).digest()
    for each in path:
        if last == 0:
            raise Wrong("the path is too long")
        if index % 2 or index == last:
            found = hashlib.sha256(b"\1" + each + found).digest()
            while index % 2 == 0 and index:
                index, last = index // 2, last // 2
        else:
            found = hashlib.sha256(b"\1" + found + each).digest()
        index, last = index // 2, last // 2
    if last != 0:
        raise Wrong("the path is too short")
    return found


def parts_of(leaf: bytes) -> tuple[int, int, int, str, str, Any, bytes]:
    """Return the position, version, time in microseconds, stream, type, meta and state of an event from its leaf."""
    form, position, version, at = struct.unpack_from(">Bqqq", leaf)
    if form != 1:
        raise Wrong(f"a leaf has the form {form}, which is unknown here")
    parts, begin = [], 25
    for _ in range(4):
        (length,) = struct.unpack_from(">I", leaf, begin)
        parts.append(leaf[begin + 4 : begin + 4 + length])
        begin += 4 + length
    if begin != len(leaf):
        raise Wrong("a leaf has another length than it says")
    stream, type_, meta = (part.decode() for part in parts[:3])
    return position, version, at, stream, type_, meta, parts[3]
