"""The purpose of a read is parsed from the header `X-Purpose`."""

from __future__ import annotations

import pytest

from api.access.purpose import purpose
from domain.errors import Invalid


def purpose_of(line: bytes) -> str | None:
    return purpose({b"x-purpose": line})


@pytest.mark.parametrize("line", [b"", b"  \t "])
def test_purpose_of_only_spaces_is_none(line: bytes) -> None:
    assert purpose({}) is None
    assert purpose_of(line) is None


@pytest.mark.parametrize("line", ["Prüfung".encode(), "Prüfung".encode("latin-1")])
def test_purpose_is_read_as_utf_8_or_else_as_latin_1(line: bytes) -> None:
    assert purpose_of(b" " + line + b" ") == "Prüfung"


def test_purpose_has_at_most_200_characters() -> None:
    assert purpose_of(b"x" * 200) == "x" * 200
    with pytest.raises(Invalid) as refused:
        purpose_of(b"x" * 201)
    assert refused.value.members["errors"][0]["path"] == "X-Purpose"


@pytest.mark.parametrize("line", [b"a\tb", b"a\x7fb", b"a\x85b"])
def test_purpose_with_control_characters_is_refused(line: bytes) -> None:
    with pytest.raises(Invalid):
        purpose_of(line)
