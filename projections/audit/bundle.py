"""The history of one execution as a zip that proves itself. The same head gives the same bytes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from typing import NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import orjson

from domain.eventlog.codec import EventRow
from projections.audit.leaf import leaf_bytes
from projections.audit.note import Signer
from projections.audit.reader import Inclusion
from projections.audit.report import report
from projections.audit.tables import Head
from projections.audit.verify_bundle import CHECKPOINT, EVENTS, KEY, KIND, LEAVES, MANIFEST

LONG_AGO = (1980, 1, 1, 0, 0, 0)
READABLE_BY_ALL = 0o644 << 16
VERIFIER = files("projections.audit").joinpath("verify_bundle.py")


class ProvenEvent(NamedTuple):
    """An event as it is stored, as it is shown (a CloudEvents envelope), and that it is in the tree."""

    row: EventRow
    envelope: bytes
    proof: Inclusion


def bundle(stream: str, events: Sequence[ProvenEvent], head: Head, signer: Signer) -> bytes:
    """The zip: all events of a stream, a head that covers them, the key, a report, and what verifies it.

    Its manifest has the hashes of all other files, and is signed by the key of the head.
    """
    content = {
        CHECKPOINT: head.note.encode(),
        KEY: f"{head.public_key}\n".encode(),
        LEAVES: b"".join(_leaf(event) for event in events),
        EVENTS: b"".join(event.envelope + b"\n" for event in events),
        "report.html": report(stream, [event.envelope for event in events], head).encode(),
        "verify.py": VERIFIER.read_bytes(),
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


def _leaf(event: ProvenEvent) -> bytes:
    shown = {
        "position": event.row.position,
        "version": event.row.version,
        "leaf": b64encode(leaf_bytes(event.row)).decode(),
        "path": [each.hex() for each in event.proof.path],
    }
    return orjson.dumps(shown) + b"\n"
