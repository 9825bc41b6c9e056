"""A bundle is verified by Python alone, and every change of its contents is noticed."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from random import Random
from zipfile import ZipFile

import orjson
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.eventlog.access.entry import BEFORE_ALL, Access, AccessEntry, chain_hash, entry_bytes
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import Vault
from projections.audit import merkle
from projections.audit.access.proven import ProvenRead
from projections.audit.access.segments import AccessSegment
from projections.audit.bundle import VERIFIER, ProvenEvent, Reads, bundle
from projections.audit.leaf import leaf_bytes
from projections.audit.note import Signer, TreeCheckpoint
from projections.audit.reader import InclusionProof
from projections.audit.tables import TreeHead
from projections.audit.verify_bundle import LEAVES, MANIFEST, check, check_events
from projections.audit.verify_proofs import ORDER, Wrong, is_signed
from projections.audit.verify_readable import EVENTS, check_readable
from projections.representations.cloudevents import envelope
from tests.support.audited_log import NOON, event

STREAM = "execution/run-1"
SIGNER = Signer(b"k" * 32, "executions/log-1")
KEY, _ = Vault(b"k" * 32).make(STREAM)


def rows() -> list[EventRow]:
    """A log of 20 events; every fourth one is of one execution, and the second one has a sealed field."""
    found = [event(position) for position in range(1, 21)]
    for version, place in enumerate(range(3, 20, 4), 1):
        data = orjson.dumps({"n": version, "html": "<script>alert(1)</script>", "none": None})
        if version == 2:
            data = (
                b'{"result":{"$sealed":"%b"},"list":[1,{"a":"b"}]}'
                % KEY.seal(b'"done"', 2).encode()
            )
        found[place] = found[place]._replace(stream=STREAM, version=version, data=data)
    return found


def recorded() -> list[tuple[AccessEntry, bytes]]:
    """Three reads, each with the hash of the one before."""
    found, before = [], BEFORE_ALL
    for number in (1, 2, 3):
        access = Access("ann", "key-1", "readExecution", ("run-1",), purpose=f"Invoice {number}")
        hashed = chain_hash(before, entry_bytes(number, NOON, access))
        found.append((AccessEntry(number, NOON, access, hashed), before))
        before = hashed
    return found


READS = recorded()
SEGMENT = AccessSegment([entry.hash for entry, _ in READS])
ANCHOR = {"first": 1, "last": 3, "hash": READS[-1][0].hash.hex(), "root": SEGMENT.root.hex()}
LOG = rows()
LOG[9] = LOG[9]._replace(
    stream="anchor/access-log", version=1, type="access.anchored", data=orjson.dumps(ANCHOR)
)
HASHES = [merkle.leaf_hash(leaf_bytes(row)) for row in LOG]


def node(place: merkle.Node) -> bytes:
    level, index = place
    return merkle.join(HASHES[index << level : index + 1 << level])


def proven(row: EventRow) -> ProvenEvent:
    index = row.position - 1
    path = merkle.inclusion_path(index, len(LOG), node)
    proof = InclusionProof(row.position, HASHES[index], len(LOG), ROOT, path)
    return ProvenEvent(row, envelope(row, KEY), proof)


ROOT = merkle.root(len(LOG), node)
NOTE = SIGNER.sign(TreeCheckpoint(SIGNER.origin, len(LOG), ROOT).text)
HEAD = TreeHead(len(LOG), ROOT, SIGNER.origin, SIGNER.public_key, NOTE, NOON)
EVENTS_OF_IT = [proven(row) for row in LOG if row.stream == STREAM]
LOOKED = Reads(
    [
        ProvenRead(entry, before, SEGMENT.path(index), 0)
        for index, (entry, before) in enumerate(READS)
    ],
    [(LOG[9], proven(LOG[9]).proof)],
)
BUNDLE = bundle(STREAM, EVENTS_OF_IT, HEAD, SIGNER, LOOKED)


def unpack(packed: bytes = BUNDLE) -> dict[str, bytes]:
    with ZipFile(BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(files: dict[str, bytes], place: Path) -> Path:
    with ZipFile(place, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return place


def run_verify(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What `verify.py` prints when run with only the standard library."""
    command = [sys.executable, "-I", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


FILES = unpack()
CHANCE = Random(5)


def test_bundle_of_erased_content_reports_the_erasure(tmp_path: Path) -> None:
    events = [event._replace(envelope=envelope(event.row, None)) for event in EVENTS_OF_IT]
    place = pack(unpack(bundle(STREAM, events, HEAD, SIGNER)), tmp_path / "erased.zip")
    (tmp_path / "verify.py").write_bytes(VERIFIER)
    done = run_verify(tmp_path / "verify.py", place)
    assert done.returncode == 0, done.stdout
    assert "What 0 sealed fields of them say was opened" in done.stdout
    assert "What 1 others said was erased" in done.stdout
    assert "erased" not in run_verify(tmp_path / "verify.py", pack(FILES, place)).stdout


def test_bundle_verifies_in_a_plain_python_and_reports_what_is_proven(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    done = run_verify(tmp_path / "verify.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 5 events of execution/run-1 are in that log, at positions 4 to 20" in done.stdout
    assert "versions 1 to 5" in done.stdout
    assert "1 sealed fields" in done.stdout
    assert SIGNER.public_key in done.stdout


def test_bundle_verifies_as_a_zip_and_only_with_the_key_that_signed_it(tmp_path: Path) -> None:
    place = tmp_path / "bundle.zip"
    place.write_bytes(BUNDLE)
    script = tmp_path / "trusted.py"
    script.write_bytes(VERIFIER)
    assert run_verify(script, place, SIGNER.public_key).returncode == 0
    done = run_verify(script, place, Signer(b"x" * 32, SIGNER.origin).public_key)
    assert done.returncode == 1
    assert "another public key" in done.stdout
    done = run_verify(script, tmp_path / "none.zip")
    assert (done.returncode, done.stderr) == (1, "")


def test_changed_byte_is_noticed_by_a_plain_python(tmp_path: Path) -> None:
    script = tmp_path / "trusted.py"
    script.write_bytes(VERIFIER)
    for name in sorted(FILES):
        place = CHANCE.randrange(len(FILES[name]))
        changed = bytearray(FILES[name])
        changed[place] ^= 1 << CHANCE.randrange(8)
        files = FILES | {name: bytes(changed)}
        done = run_verify(script, pack(files, tmp_path / "bundle.zip"))
        assert done.returncode == 1, f"byte {place} of {name}"
        assert done.stdout.startswith("DOES NOT HOLD: "), done.stdout + done.stderr
        assert done.stderr == ""


@pytest.mark.parametrize("name", sorted(FILES))
def test_changed_bits_are_noticed(name: str, thorough: bool) -> None:
    size = len(FILES[name])
    places = CHANCE.sample(range(size), min(size, 1_000 if thorough else 20))
    places += [0, size - 1]
    for place in places:
        changed = bytearray(FILES[name])
        changed[place] ^= 1 << CHANCE.randrange(8)
        with pytest.raises((Wrong, ValueError)):
            check(FILES | {name: bytes(changed)}, None)


@pytest.mark.parametrize("name", sorted(FILES))
def test_missing_and_added_files_are_noticed(name: str) -> None:
    with pytest.raises((Wrong, ValueError)):
        check({other: content for other, content in FILES.items() if other != name}, None)
    with pytest.raises(Wrong, match="does not belong"):
        check(FILES | {f"{name}.more": b""}, None)


def test_second_encoding_of_the_same_signature_is_noticed() -> None:
    head, _, line = FILES[MANIFEST].rpartition(b" ")
    signature = b64decode(line)
    number = int.from_bytes(signature[36:], "little") + ORDER
    again = b64encode(signature[:36] + number.to_bytes(32, "little"))
    for changed in (again, line.strip() + b" "):
        with pytest.raises(Wrong):
            check(FILES | {MANIFEST: head + b" " + changed + b"\n"}, None)


def test_signer_of_a_bundle_cannot_add_what_is_not_in_the_tree() -> None:
    """The holder of the key can sign a manifest, but not change the leaves of the tree."""
    forged = EVENTS_OF_IT[1]._replace(row=EVENTS_OF_IT[1].row._replace(meta='{"by":"another"}'))
    wrong = {
        "is not in the tree": [EVENTS_OF_IT[0], forged],
        "does not follow": EVENTS_OF_IT[1:],
        "event 2 does not follow": [EVENTS_OF_IT[0], EVENTS_OF_IT[0]],
        "event 3 does not follow": [*EVENTS_OF_IT[:2], EVENTS_OF_IT[3]],
        "is of user/": [proven(LOG[0])],
        "another `source`": [
            EVENTS_OF_IT[0]._replace(envelope=envelope(LOG[0]._replace(position=4), None))
        ],
        "something else of event 1": [
            EVENTS_OF_IT[0]._replace(envelope=EVENTS_OF_IT[0].envelope.replace(b'"n":1', b'"n":2'))
        ],
        "something else of event 2": [
            EVENTS_OF_IT[0],
            EVENTS_OF_IT[1]._replace(envelope=EVENTS_OF_IT[1].envelope.replace(b'"b"', b'"c"')),
        ],
    }
    for reason, events in wrong.items():
        with pytest.raises(Wrong, match=reason):
            check(unpack(bundle(STREAM, events, HEAD, SIGNER)), None)


def test_number_of_events_equals_that_of_readable_events() -> None:
    found = check_events(FILES, STREAM, len(LOG), ROOT)
    lines = FILES[EVENTS].splitlines(keepends=True)
    with pytest.raises(Wrong, match="4 events, and 5 are proven"):
        check_readable({EVENTS: b"".join(lines[:4])}, found)
    with pytest.raises(Wrong, match="there are no events"):
        check_events({LEAVES: b""}, STREAM, len(LOG), ROOT)


def test_same_head_gives_the_same_bytes() -> None:
    assert bundle(STREAM, EVENTS_OF_IT, HEAD, SIGNER, LOOKED) == BUNDLE
    with ZipFile(BytesIO(BUNDLE)) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_report_shows_all_and_has_no_script() -> None:
    page = FILES["report.html"].decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "done" in page
    for row in EVENTS_OF_IT:
        assert f"<td>{row.row.position}</td>" in page
    assert SIGNER.public_key in page
    assert "<code>user.updated by t</code>" in page
    assert f"<code>t ({len(EVENTS_OF_IT)})</code>" in page


def test_damaged_event_is_proven_although_unreadable() -> None:
    row = LOG[3]._replace(data=b"\xff{", position=1, version=1)
    leaf = merkle.leaf_hash(leaf_bytes(row))
    signed = SIGNER.sign(TreeCheckpoint(SIGNER.origin, 1, leaf).text)
    head = HEAD._replace(size=1, root=leaf, note=signed)
    alone = ProvenEvent(row, envelope(row, KEY), InclusionProof(1, leaf, 1, leaf, []))
    assert check(unpack(bundle(STREAM, [alone], head, SIGNER)), None)


def test_signatures_are_verified_as_by_an_independent_library() -> None:
    for number in range(40):
        key = Ed25519PrivateKey.from_private_bytes(CHANCE.randbytes(32))
        public = key.public_key().public_bytes_raw()
        message = CHANCE.randbytes(number)
        signature = bytearray(key.sign(message))
        assert is_signed(public, message, bytes(signature))
        assert not is_signed(public, message + b"x", bytes(signature))
        assert not is_signed(public, message, bytes(signature[:63]))
        place = CHANCE.randrange(64)
        signature[place] ^= 1 << CHANCE.randrange(8)
        known = Ed25519PublicKey.from_public_bytes(public)
        with pytest.raises(InvalidSignature):
            known.verify(bytes(signature), message)
        assert not is_signed(public, message, bytes(signature))


def test_key_that_is_not_a_point_verifies_no_signature() -> None:
    for public in (b"\xff" * 32, b"\x02" + bytes(31), b"\x01" + bytes(30) + b"\x80"):
        assert not is_signed(public, b"", bytes(64))
