"""Signed notes have the format of C2SP, and a changed note does not verify."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

import pytest

from projections.audit.merkle import EMPTY_ROOT
from projections.audit.note import (
    BadNote,
    Signer,
    TreeCheckpoint,
    checkpoint_of,
    notes_in,
    open_note,
    origin_of,
)

# The example of golang.org/x/mod/sumdb/note, the origin of C2SP signed notes.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SIGNER = Signer(b"k" * 32, origin_of("log-1"))
CHECKPOINT = TreeCheckpoint(SIGNER.origin, 7, EMPTY_ROOT)
NOTE = SIGNER.sign(CHECKPOINT.text)


def test_published_note_opens_by_its_published_key() -> None:
    assert open_note(GO_NOTE, GO_KEY).startswith("If you think cryptography")


def test_checkpoint_is_three_lines_and_a_signature() -> None:
    root = b64encode(EMPTY_ROOT).decode()
    assert re.fullmatch(
        rf"executions/log-1\n7\n{re.escape(root)}\n\n— executions/log-1 [A-Za-z0-9+/]+=*\n", NOTE
    )
    assert checkpoint_of(NOTE, SIGNER.public_key) == CHECKPOINT


def test_key_depends_on_log_and_secret() -> None:
    assert Signer(b"k" * 32, SIGNER.origin).public_key == SIGNER.public_key
    others = Signer(b"k" * 32, origin_of("log-2")), Signer(b"l" * 32, SIGNER.origin)
    for other in others:
        with pytest.raises(BadNote):
            open_note(NOTE, other.public_key)


def test_changed_note_does_not_verify() -> None:
    for place, letter in enumerate(NOTE):
        changed = NOTE[:place] + chr(ord(letter) ^ 1) + NOTE[place + 1 :]
        with pytest.raises(BadNote):
            checkpoint_of(changed, SIGNER.public_key)


def test_second_encoding_of_the_same_signature_is_refused() -> None:
    padded = NOTE.removesuffix("=\n")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    again = letters[letters.index(padded[-1]) + 1]  # its last two bits have no meaning
    for changed in (f"{padded[:-1]}{again}=\n", NOTE.removesuffix("\n"), NOTE + "\n"):
        with pytest.raises(BadNote):
            open_note(changed, SIGNER.public_key)


def test_key_of_another_name_does_not_open_a_note() -> None:
    name, key_id, public = SIGNER.public_key.split("+", 2)
    for key in (
        f"{name}x+{key_id}+{public}",
        f"{name}+00000000+{public}",
        "",
        "a+b+c",
        f"{name}+{key_id}",
    ):
        with pytest.raises(BadNote):
            open_note(NOTE, key)
    assert b64decode(public)[0] == 1


@pytest.mark.parametrize(
    "text", ["log\n", "log\n-\nAAAA\n", "log\n07\nAAAA\n", "log\n7\nAAAA\nmore\n"]
)
def test_note_that_is_not_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote, match="no checkpoint"):
        checkpoint_of(SIGNER.sign(text), SIGNER.public_key)


def test_notes_appended_to_one_file_by_a_witness_are_separated() -> None:
    signer = Signer(b"k" * 32, "executions/log")
    notes = [signer.sign(TreeCheckpoint(signer.origin, n, bytes(32)).text) for n in range(3)]
    assert notes_in("".join(notes)) == notes
    assert notes_in("\n\n".join(notes)) == notes
    assert notes_in(notes[0]) == notes[:1]
    assert notes_in(f"{notes[0]}\nrest") == [notes[0], "\nrest"]
    assert notes_in("") == [""]
    assert notes_in("no note at all") == ["no note at all"]
