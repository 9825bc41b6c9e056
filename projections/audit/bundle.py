"""The history of one execution as a zip that proves itself. The same head gives the same bytes."""

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

from domain.eventlog.access.entry import entry_bytes
from domain.eventlog.codec import EventRow
from domain.json_forms import format_time
from projections.audit.access.proven import ProvenRead
from projections.audit.leaf import leaf_bytes
from projections.audit.note import Signer
from projections.audit.reader import Inclusion
from projections.audit.report import report
from projections.audit.tables import Head
from projections.audit.verify_bundle import (
    ACCESSES,
    ANCHORS,
    CHECKPOINT,
    EVENTS,
    KEY,
    KIND,
    LEAVES,
    MANIFEST,
)

LONG_AGO = (1980, 1, 1, 0, 0, 0)
READABLE_BY_ALL = 0o644 << 16
PROOFS = re.compile(r"^from projections\.audit\.verify_proofs import .*$", re.MULTILINE)


def verifier() -> bytes:
    """The `verify.py` of a bundle: one file, which imports nothing of ours."""
    room = files("projections.audit")
    proofs = room.joinpath("verify_proofs.py").read_text(encoding="utf-8")
    part = proofs.partition("from __future__ import annotations\n")[2].strip()
    whole = room.joinpath("verify_bundle.py").read_text(encoding="utf-8")
    return PROOFS.sub(lambda _: part, whole).encode()


VERIFIER = verifier()


class ProvenEvent(NamedTuple):
    """An event as it is stored, as it is shown (a CloudEvents envelope), and that it is in the tree."""

    row: EventRow
    envelope: bytes
    proof: Inclusion


class Reads(NamedTuple):
    """Recorded reads, as far as anchors cover them, and these anchors, each as it is stored and in the tree."""

    reads: Sequence[ProvenRead] = ()
    anchors: Sequence[tuple[EventRow, Inclusion]] = ()


def bundle(
    stream: str,
    events: Sequence[ProvenEvent],
    head: Head,
    signer: Signer,
    looked: Reads = Reads(),  # noqa: B008 - a constant
) -> bytes:
    """The zip: all events of a stream, its reads, a head that covers them, the key, a report, and what verifies it.

    Its manifest has the hashes of all other files, and is signed by the key of the head.
    """
    content = {
        CHECKPOINT: head.note.encode(),
        KEY: f"{head.public_key}\n".encode(),
        LEAVES: b"".join(_leaf(event.row, event.proof) for event in events),
        ANCHORS: b"".join(_leaf(row, proof) for row, proof in looked.anchors),
        ACCESSES: b"".join(_access(read) for read in looked.reads),
        EVENTS: b"".join(event.envelope + b"\n" for event in events),
        "report.html": report(
            stream,
            [event.envelope for event in events],
            head,
            [read.entry for read in looked.reads],
        ).encode(),
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


def _leaf(row: EventRow, proof: Inclusion) -> bytes:
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
