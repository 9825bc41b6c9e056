"""Checks a bundle of the history of one execution, with nothing but the standard library of Python 3.10 or later.

    python3 verify.py [BUNDLE.zip or its folder] [PUBLIC KEY]

Without a bundle it checks the folder in which it lies. The public key is what the bundle cannot prove by
itself: get it from somewhere else than the bundle (`publicKey` of GET /api/audit/tree-head), and compare it or
give it. Ends with 1 where anything does not hold. Use a verify.py that you trust: read it, it is short.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

MANIFEST, KEY, CHECKPOINT = "manifest.txt", "public-key.txt", "checkpoint.txt"
LEAVES, EVENTS = "leaves.ndjson", "events.ndjson"
KIND = "executions bundle 1"
TOKENS = ({"$sealed"}, {"$secret"})


class Wrong(Exception):
    """Something that does not hold."""


EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - Python 3.10 has no `UTC`

# --- Ed25519 (RFC 8032, 5.1) -------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]


def _decoded(text: bytes) -> Point | None:
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


def _encoded(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 key has signed a message."""
    key, base = _decoded(public), _decoded(bytes([0x58]) + bytes([0x66]) * 31)
    number = int.from_bytes(signature[32:], "little")
    if key is None or base is None or len(signature) != 64 or number >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    negative = P - key[0], key[1], key[2], P - key[3]
    return _encoded(_sum(_times(number, base), _times(challenge, negative))) == signature[:32]


# --- signed notes (C2SP) -----------------------------------------------------


def opened(note: bytes, public_key: str) -> str:
    """The text of a note that this key has signed."""
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
    """The root to which a path leads from a leaf."""
    place, last, found = index, size - 1, hashlib.sha256(b"\0" + leaf).digest()
    for each in path:
        if last == 0:
            raise Wrong("the path is too long")
        if place % 2 or place == last:
            found = hashlib.sha256(b"\1" + each + found).digest()
            while place % 2 == 0 and place:
                place, last = place // 2, last // 2
        else:
            found = hashlib.sha256(b"\1" + found + each).digest()
        place, last = place // 2, last // 2
    if last != 0:
        raise Wrong("the path is too short")
    return found


def parts_of(leaf: bytes) -> tuple[int, int, int, str, str, Any, bytes]:
    """Position, version, time in microseconds, stream, type, meta and state of an event."""
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


# --- the bundle --------------------------------------------------------------


def read(place: Path) -> dict[str, bytes]:
    """The files of a bundle."""
    if place.is_dir():
        return {file.name: file.read_bytes() for file in sorted(place.iterdir()) if file.is_file()}
    with zipfile.ZipFile(place) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise Wrong("two files in the bundle have the same name")
        return {name: archive.read(name) for name in names}


def check_files(files: dict[str, bytes], public_key: str) -> str:
    """The manifest is signed, and every file is as it says; the stream that the bundle is of."""
    if MANIFEST not in files:
        raise Wrong(f"the bundle has no {MANIFEST}")
    kind, stream, *lines = opened(files[MANIFEST], public_key).split("\n")
    if kind != KIND:
        raise Wrong(f"{MANIFEST} is no manifest of a bundle")
    listed = {line[66:]: line[:64] for line in lines}
    for name in sorted({*listed, *files} - {MANIFEST}):
        if name not in files:
            raise Wrong(f"{name} is missing")
        if name not in listed:
            raise Wrong(f"{name} does not belong to the bundle")
        if hashlib.sha256(files[name]).hexdigest() != listed[name]:
            raise Wrong(f"{name} was changed")
    return stream


def check_events(files: dict[str, bytes], stream: str, size: int, root: bytes) -> list[Any]:
    """Every event is in the tree, and none is missing between the first and the last; their parts."""
    rows, last = [], (0, 0, -(2**63))
    for number, line in enumerate(files[LEAVES].splitlines(), 1):
        entry = json.loads(line)
        leaf = base64.b64decode(entry["leaf"], validate=True)
        row = parts_of(leaf)
        path = [bytes.fromhex(each) for each in entry["path"]]
        if not 0 < row[0] <= size or root_of(row[0] - 1, size, leaf, path) != root:
            raise Wrong(f"event {number} is not in the tree at position {row[0]}")
        if row[3] != stream:
            raise Wrong(f"event {number} is of {row[3]}, not of {stream}")
        if row[1] != number or row[0] <= last[0] or row[2] < last[2]:
            raise Wrong(f"event {number} does not follow on the one before it")
        rows.append(row)
        last = row[0], row[1], row[2]
    if not rows:
        raise Wrong("there are no events")
    return rows


def check_readable(files: dict[str, bytes], rows: list[Any]) -> int:
    """The readable events say what the proven ones do; how many fields of them were opened."""
    lines = files[EVENTS].splitlines()
    if len(lines) != len(rows):
        raise Wrong(f"{EVENTS} has {len(lines)} events, and {len(rows)} are proven")
    count = 0
    for row, line in zip(rows, lines, strict=True):
        shown = json.loads(line)
        if shown.get("unreadable"):
            continue
        position, version, at, stream, type_, meta, state = row
        moment = EPOCH + timedelta(microseconds=at)
        expected = {
            "position": position,
            "version": version,
            "type": type_,
            "time": moment.isoformat(timespec="milliseconds")[:23] + "Z",
            "subject": stream.partition("/")[2],
            "actor": json.loads(meta)["by"],
        }
        for name, value in expected.items():
            if shown.get(name) != value:
                raise Wrong(f"{EVENTS} says another `{name}` of event {version} than was proven")
        count += _opened_fields(json.loads(state), shown["data"], version)
    return count


def _opened_fields(stored: Any, shown: Any, version: int) -> int:
    if isinstance(stored, dict) and set(stored) in TOKENS:
        return 1
    if isinstance(stored, dict) and isinstance(shown, dict) and set(stored) == set(shown):
        return sum(_opened_fields(stored[name], shown[name], version) for name in stored)
    if isinstance(stored, list) and isinstance(shown, list) and len(stored) == len(shown):
        return sum(
            _opened_fields(one, other, version) for one, other in zip(stored, shown, strict=True)
        )
    if stored != shown:
        raise Wrong(f"{EVENTS} says something else of event {version} than was proven")
    return 0


def check(files: dict[str, bytes], public_key: str | None) -> list[str]:
    """What holds of a bundle, in sentences. Raises Wrong where something does not."""
    found = files.get(KEY, b"").decode().strip()
    if public_key is not None and found != public_key:
        raise Wrong("the bundle was made with another public key than the one that was given")
    stream = check_files(files, found)
    origin, number, encoded = opened(files[CHECKPOINT], found).split("\n")
    size, root = int(number), base64.b64decode(encoded, validate=True)
    if found.partition("+")[0] != origin:
        raise Wrong("the head of the tree is of another log")
    rows = check_events(files, stream, size, root)
    fields = check_readable(files, rows)
    first, last = (EPOCH + timedelta(microseconds=rows[n][2]) for n in (0, -1))
    where = f"positions {rows[0][0]} to {rows[-1][0]}, recorded from {first} to {last}"
    opening = "was opened and signed by the service, and their sealed form is in the tree"
    compare = f"Whether this key is the service's is for you to compare: {found}"
    return [
        f"No file of the bundle was changed since {origin} signed it.",
        f"The head of the log {origin}, over {size} events, is signed by the same key.",
        f"All {len(rows)} events of {stream} are in that log, at {where}.",
        f"They are its versions 1 to {len(rows)}: none between them is missing, changed or moved.",
        f"{EVENTS} and report.html show them. What {fields} sealed fields of them say {opening}.",
        "The key is the one that was given." if public_key is not None else compare,
    ]


def main(arguments: list[str]) -> int:
    """Check the bundle that the arguments name, and say what holds."""
    place = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    try:
        for sentence in check(read(place), arguments[1] if len(arguments) > 1 else None):
            sys.stdout.write(f"Holds: {sentence}\n")
    except Wrong as error:
        sys.stdout.write(f"DOES NOT HOLD: {error}.\n")
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it is, the bundle is not one
        sys.stdout.write(
            f"DOES NOT HOLD: the bundle cannot be read ({type(error).__name__}: {error}).\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
