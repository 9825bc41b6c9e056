"""The purpose of a read, from the header `X-Purpose`."""

from __future__ import annotations

from collections.abc import Mapping

from domain.errors import DomainError, Invalid

HEADER = "X-Purpose"
LONGEST = 200


class PurposeRequired(DomainError):
    """An auditor says what it reads for: send the header `X-Purpose`, 1 to 200 characters."""

    code = "purpose-required"


def purpose(headers: Mapping[bytes, bytes]) -> str | None:
    """The purpose of a request; None where it does not say any.

    Raises:
        Invalid: it is too long, or is no text on one line.
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
