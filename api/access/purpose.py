"""The purpose of a read, from the header `X-Purpose`."""

from __future__ import annotations

from collections.abc import Mapping

from domain.errors import DomainError, Invalid

HEADER = "X-Purpose"
LONGEST = 200
"""Characters of a purpose."""


class PurposeRequired(DomainError):
    """An auditor has to name the purpose of a read: send the header `X-Purpose`, 1 to 200 characters."""

    code = "purpose-required"


def purpose(headers: Mapping[bytes, bytes]) -> str | None:
    """The purpose of a request; None without one.

    Raises:
        Invalid: the purpose is too long, or is no printable text on one line.
    """
    line = headers.get(HEADER.lower().encode())
    if line is None or not (text := _decode(line).strip()):
        return None
    if len(text) > LONGEST or not text.isprintable():
        raise Invalid.field(HEADER, f"must be 1 to {LONGEST} printable characters, in UTF-8")
    return text


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
