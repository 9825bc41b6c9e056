"""Signs and verifies tree heads: C2SP checkpoints, which are signed notes (Ed25519).

A note is a text, an empty line, and a line `— name base64(key id, signature)`. The text of a checkpoint has three lines:
origin, size and root (base64). The key has the origin as its name.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.eventlog.setup.log_secret import derive

ED25519 = b"\x01"
KEY_ID_BYTES = 4
SEPARATOR = "\n\n— "
SIGNED = re.compile(r"\n\n— [^\n]*\n")


class BadNote(ValueError):
    """A text that is not a signed note, or whose signature is not that of the key."""


class TreeCheckpoint(NamedTuple):
    """The content of a signed tree head: the root of the first `size` leaves of the log `origin`."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def origin_of(log_id: str) -> str:
    """Return the origin of a log, which is also the name of the key that signs its heads."""
    return f"executions/{log_id}"


class Signer:
    """Signs notes for one log. The key is derived from the secret of the log, so a log has only one."""

    def __init__(self, secret: bytes, origin: str) -> None:
        seed = derive(secret, f"tree heads of {origin}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.origin = origin

    @property
    def public_key(self) -> str:
        """The public key that verifies the notes, in the form of C2SP: `name+key id+base64`."""
        public = ED25519 + self._key.public_key().public_bytes_raw()
        return f"{self.origin}+{_key_id(self.origin, public).hex()}+{b64encode(public).decode()}"

    def sign(self, text: str) -> str:
        """Return a text, which must end with a newline, as a signed note."""
        public = ED25519 + self._key.public_key().public_bytes_raw()
        signature = _key_id(self.origin, public) + self._key.sign(text.encode())
        return _format_note(text, self.origin, signature)


def parse_key(public_key: str) -> tuple[str, bytes]:
    """Return the name in a public key, and the key itself.

    Raises:
        BadNote: the text is no public key of a log.
    """
    try:
        name, key_id, encoded = public_key.split("+", 2)
        public = b64decode(encoded, validate=True)
        if key_id == _key_id(name, public).hex() and public.startswith(ED25519):
            Ed25519PublicKey.from_public_bytes(public.removeprefix(ED25519))
            return name, public
    except ValueError:
        pass
    raise BadNote("it is no public key of a log, as `executions audit verify` prints it")


def open_note(note: str, public_key: str) -> str:
    """Return the text of a note that a key has signed.

    Raises:
        BadNote: the note or the key is malformed, or the key has not signed the note.
    """
    name, public = parse_key(public_key)
    known = _key_id(name, public)
    try:
        text, _, line = note.rpartition(SEPARATOR)
        signer, _, given = line.removesuffix("\n").partition(" ")
        signature = b64decode(given, validate=True)
        if (signer, signature[:KEY_ID_BYTES]) != (name, known):
            raise BadNote("the note was signed by another key")
        # Compared as a whole, because Base64 can write the same bytes in several ways.
        if note != _format_note(f"{text}\n", name, signature):
            raise BadNote("the note is not as a signer writes it")
        key = Ed25519PublicKey.from_public_bytes(public.removeprefix(ED25519))
        key.verify(signature[KEY_ID_BYTES:], f"{text}\n".encode())
    except InvalidSignature:
        raise BadNote("the signature does not fit the note") from None
    except ValueError as error:
        raise BadNote(str(error)) from None
    return f"{text}\n"


def checkpoint_of(note: str, public_key: str) -> TreeCheckpoint:
    """What a signed tree head says.

    Raises:
        BadNote: it is none, or the key has not signed it.
    """
    lines = open_note(note, public_key).split("\n")
    try:
        checkpoint = TreeCheckpoint(lines[0], int(lines[1]), b64decode(lines[2], validate=True))
    except (ValueError, IndexError):
        raise BadNote("the note is no checkpoint") from None
    if "\n".join(lines) != checkpoint.text:
        raise BadNote("the note is no checkpoint")
    return checkpoint


def notes_in(text: str) -> list[str]:
    """Return the signed notes in a text that has them one after the other, as a witness keeps them."""
    notes, begin = [], 0
    for found in SIGNED.finditer(text):
        notes.append(text[begin : found.end()].lstrip("\n"))
        begin = found.end()
    rest = text[begin:].strip()
    return notes if notes and not rest else [*notes, text[begin:]]


def _format_note(text: str, name: str, signature: bytes) -> str:
    return f"{text}\n— {name} {b64encode(signature).decode()}\n"


def _key_id(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + public).digest()[:KEY_ID_BYTES]
