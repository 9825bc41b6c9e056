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
from datetime import timedelta
from pathlib import Path
from typing import Any

from projections.audit.report import Signed
from projections.audit.verify_proofs import EPOCH, Wrong, open_note, parts_of, root_of
from projections.audit.verify_readable import (
    ACCESSES,
    EVENTS,
    REPORT,
    check_readable,
    check_report,
    load_json,
    time_of,
)

MANIFEST, KEY, CHECKPOINT = "manifest.txt", "public-key.txt", "checkpoint.txt"
LEAVES, ANCHORS = "leaves.ndjson", "anchors.ndjson"
KIND = "executions bundle 2"
"""The form of bundles that this program checks."""


# --- the bundle --------------------------------------------------------------


def read(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle by their names, from a zip or a folder."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(path.iterdir()) if file.is_file()}
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise Wrong("two files in the bundle have the same name")
        return {name: archive.read(name) for name in names}


def check_files(files: dict[str, bytes], public_key: str) -> str:
    """Check that the manifest is signed, and lists the digests of exactly these files. Return the stream of the bundle."""
    if MANIFEST not in files:
        raise Wrong(f"the bundle has no {MANIFEST}")
    kind, stream, *lines = open_note(files[MANIFEST], public_key).split("\n")
    if kind != KIND:
        raise Wrong(f"{MANIFEST} is of a bundle of another form: use the verify.py of its time")
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
    """Check that every event is in the tree, and none is missing from the first to the last. Return their parts."""
    rows, last = [], (0, 0, -(2**63))
    for number, line in enumerate(files[LEAVES].splitlines(), 1):
        entry = json.loads(line)
        leaf = base64.b64decode(entry["leaf"], validate=True)
        row = parts_of(leaf)
        path = [bytes.fromhex(each) for each in entry["path"]]
        if not 0 < row[0] <= size or root_of(row[0] - 1, size, leaf, path) != root:
            raise Wrong(f"event {number} is not in the tree at position {row[0]}")
        if row[3] != stream or (entry["position"], entry["version"]) != row[:2]:
            raise Wrong(
                f"event {number} is of {row[3]}, not of {stream}, or not where it is said to be"
            )
        if row[1] != number or row[0] <= last[0] or row[2] < last[2]:
            raise Wrong(f"event {number} does not follow on the one before it")
        rows.append(row)
        last = row[0], row[1], row[2]
    if not rows:
        raise Wrong("there are no events")
    return rows


def check_accesses(
    files: dict[str, bytes], stream: str, size: int, root: bytes
) -> list[tuple[str, ...]]:
    """Check that every listed read is in the access log covered by an anchor, which is in the tree. Return the time, actor,
    operation, address and purpose of each.
    """
    anchors = [_anchor(json.loads(line), size, root) for line in files[ANCHORS].splitlines()]
    last, reads = 0, list[tuple[str, ...]]()
    for line in files[ACCESSES].splitlines():
        shown = load_json(line)
        entry = base64.b64decode(shown.pop("entry"), validate=True)
        form, number, at, texts = _texts_of(entry)
        said = anchors[shown.pop("anchor")]
        link = hashlib.sha256(bytes.fromhex(shown.pop("before")) + entry).digest()
        path = [bytes.fromhex(each) for each in shown.pop("path")]
        leaves = said["last"] - said["first"] + 1
        if form != 1 or not last < number or not said["first"] <= number <= said["last"]:
            raise Wrong(f"read {number} is not where it must be in the access log")
        if root_of(number - said["first"], leaves, link, path).hex() != said["root"]:
            raise Wrong(f"read {number} is not in the access log that was anchored")
        if stream.partition("/")[2] not in texts[3].split("\n"):
            raise Wrong(f"read {number} is of another execution")
        if shown != {"time": time_of(at), "actor": texts[0], "operation": texts[2]}:
            raise Wrong(f"{ACCESSES} says something else of read {number} than was proven")
        reads.append((time_of(at), texts[0], texts[2], texts[4], texts[5]))
        last = number
    return reads


def _anchor(line: Any, size: int, root: bytes) -> Any:
    leaf = base64.b64decode(line["leaf"], validate=True)
    row, path = parts_of(leaf), [bytes.fromhex(each) for each in line["path"]]
    if not 0 < row[0] <= size or root_of(row[0] - 1, size, leaf, path) != root:
        raise Wrong(f"the anchor at position {row[0]} is not in the tree")
    if (row[3], row[4]) != ("anchor/access-log", "access.anchored"):
        raise Wrong(f"the event at position {row[0]} is no anchor of the access log")
    return json.loads(row[6])


def _texts_of(entry: bytes) -> tuple[int, int, int, list[str]]:
    form, number, at = struct.unpack_from(">Bqq", entry)
    texts, begin = [], 17
    while begin < len(entry):
        (length,) = struct.unpack_from(">I", entry, begin)
        texts.append(entry[begin + 4 : begin + 4 + length].decode())
        begin += 4 + length
    if begin != len(entry) or len(texts) != 8:
        raise Wrong("a read has another length than it says")
    return form, number, at, texts


def check(files: dict[str, bytes], public_key: str | None) -> list[str]:
    """Return what was verified of a bundle, in sentences. Raises Wrong if a check fails."""
    found = files.get(KEY, b"").decode().strip()
    if public_key is not None and found != public_key:
        raise Wrong("the bundle was made with another public key than the one that was given")
    stream = check_files(files, found)
    origin, number, encoded = open_note(files[CHECKPOINT], found).split("\n")
    size, root = int(number), base64.b64decode(encoded, validate=True)
    if found.partition("+")[0] != origin:
        raise Wrong("the head of the tree is of another log")
    rows = check_events(files, stream, size, root)
    fields, erased, lost = check_readable(files, rows)
    reads = check_accesses(files, stream, size, root)
    check_report(files, stream, Signed(origin, size, root.hex(), found), reads)
    first, last = (EPOCH + timedelta(microseconds=rows[n][2]) for n in (0, -1))
    where = f"positions {rows[0][0]} to {rows[-1][0]}, recorded from {first} to {last}"
    opening = "was opened by the service, and is its word: the tree has their sealed form alone"
    gone = f" What {erased} others said was erased: their data key was destroyed, and their sealed form alone is left."
    dark = f" What {lost} events say could not be read by the service: nothing of it is shown."
    compare = f"Whether this key is the service's is for you to compare: {found}"
    return [
        f"No file of the bundle was changed since {origin} signed it.",
        f"The head of the log {origin}, over {size} events, is signed by the same key.",
        f"All {len(rows)} events of {stream} are in that log, at {where}.",
        f"They are its versions 1 to {len(rows)}: none between them is missing, changed or moved.",
        f"{EVENTS} says what they say, and nothing else. What {fields} sealed fields of them say {opening}."
        + (gone if erased else "")
        + (dark if lost else ""),
        f"The {len(reads)} reads in {ACCESSES} are in the access log as it was anchored in that log.",
        f"{REPORT} shows these events and reads, and nothing else.",
        "The key is the one that was given." if public_key is not None else compare,
    ]


def main(arguments: list[str]) -> int:
    """Check the bundle that the arguments name, and print what was verified."""
    path = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    try:
        for sentence in check(read(path), arguments[1] if len(arguments) > 1 else None):
            sys.stdout.write(f"Holds: {sentence}\n")
    except Wrong as error:
        sys.stdout.write(f"DOES NOT HOLD: {error}.\n")
        return 1
    except Exception as error:  # noqa: BLE001 - any other error means that it is not a bundle
        sys.stdout.write(
            f"DOES NOT HOLD: the bundle cannot be read ({type(error).__name__}: {error}).\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
