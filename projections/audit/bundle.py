"""Makes the history of one execution as a zip that verifies by itself. The same head gives the same bytes."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from typing import NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import orjson

from domain.eventlog.access.entry import AccessEntry, entry_bytes
from domain.eventlog.codec import EventRow
from domain.json_forms import format_time
from projections.audit.access.proven import ProvenRead
from projections.audit.leaf import leaf_bytes
from projections.audit.note import Signer
from projections.audit.reader import InclusionProof
from projections.audit.report import Signed, report
from projections.audit.tables import TreeHead
from projections.audit.verify_bundle import ANCHORS, CHECKPOINT, KEY, KIND, LEAVES, MANIFEST
from projections.audit.verify_readable import ACCESSES, EVENTS, REPORT

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of all files in the zip, so that its bytes depend on the content alone."""
READABLE_BY_ALL = 0o644 << 16
PARTS = re.compile(r"^from projections\.audit\.(\w+) import (?:\([^)]*\)|.*)$\n?", re.MULTILINE)


def verifier() -> bytes:
    """Return the `verify.py` of a bundle: one file, with the text of each of our modules in place of its import."""
    return PARTS.sub(lambda part: _part(part[1]), _text_of("verify_bundle")).encode()


def _part(name: str) -> str:
    text = _text_of(name).partition("from __future__ import annotations\n")[2]
    return f"{PARTS.sub('', text).strip()}\n\n"


def _text_of(name: str) -> str:
    return files("projections.audit").joinpath(f"{name}.py").read_text(encoding="utf-8")


VERIFIER = verifier()


class ProvenEvent(NamedTuple):
    """An event as it is stored, its CloudEvents envelope, and the proof that it is in the tree."""

    row: EventRow
    envelope: bytes
    proof: InclusionProof


class Reads(NamedTuple):
    """Recorded reads that anchors cover, and these anchors, each as stored and with the proof that it is in the tree."""

    reads: Sequence[ProvenRead] = ()
    anchors: Sequence[tuple[EventRow, InclusionProof]] = ()


def bundle(
    stream: str,
    events: Sequence[ProvenEvent],
    head: TreeHead,
    signer: Signer,
    looked: Reads = Reads(),  # noqa: B008 - a constant
) -> bytes:
    """Return the zip: all events of a stream, its reads, a head that covers them, the public key, a report and the verifier.

    The manifest has the digests of all other files, and is signed by the key that signs heads.
    """
    content = {
        CHECKPOINT: head.note.encode(),
        KEY: f"{head.public_key}\n".encode(),
        LEAVES: b"".join(_leaf(event.row, event.proof) for event in events),
        ANCHORS: b"".join(_leaf(row, proof) for row, proof in looked.anchors),
        ACCESSES: b"".join(_access(read) for read in looked.reads),
        EVENTS: b"".join(event.envelope + b"\n" for event in events),
        REPORT: _report(stream, events, head, looked),
        "verify.py": VERIFIER,
    }
    lines = [f"{sha256(content[name]).hexdigest()}  {name}" for name in sorted(content)]
    content[MANIFEST] = signer.sign("\n".join([KIND, stream, *lines, ""])).encode()
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_STORED) as archive:
        for name in sorted(content):
            entry = ZipInfo(name, LONG_AGO)
            entry.create_system, entry.external_attr = 3, READABLE_BY_ALL
            archive.writestr(entry, content[name])
    return packed.getvalue()


def _report(stream: str, events: Sequence[ProvenEvent], head: TreeHead, looked: Reads) -> bytes:
    envelopes = [orjson.loads(event.envelope) for event in events]
    said = [orjson.dumps(each["data"], option=orjson.OPT_INDENT_2).decode() for each in envelopes]
    signed = Signed(head.origin, head.size, head.root.hex(), head.public_key)
    reads = [_read(read.entry) for read in looked.reads]
    return report(stream, envelopes, said, signed, reads).encode()


def _read(entry: AccessEntry) -> tuple[str, ...]:
    access = entry.access
    return format_time(entry.at), access.actor, access.operation, access.address, access.purpose


def _leaf(row: EventRow, proof: InclusionProof) -> bytes:
    shown = {
        "position": row.position,
        "version": row.version,
        "leaf": b64encode(leaf_bytes(row)).decode(),
        "path": [each.hex() for each in proof.path],
    }
    return orjson.dumps(shown) + b"\n"


def _access(read: ProvenRead) -> bytes:
    entry = read.entry
    shown = {
        "time": format_time(entry.at),
        "actor": entry.access.actor,
        "operation": entry.access.operation,
        "entry": b64encode(entry_bytes(entry.id, entry.at, entry.access)).decode(),
        "before": read.before.hex(),
        "path": [each.hex() for each in read.path],
        "anchor": read.anchor,
    }
    return orjson.dumps(shown) + b"\n"
