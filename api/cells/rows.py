"""The rows of a page as the bytes that came: they are passed on, and nobody has to read them here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from projections.representations.client_json import plain_json
from projections.representations.exact_json import exact_json

LENGTHS, DATA = b'{"lengths":', b',"data":['


def split(text: bytes) -> tuple[list[bytes], dict[str, Any]]:
    """The rows of a page, and its other members.

    Raises:
        ValueError, TypeError, LookupError: it is no page.
    """
    if not text.startswith(LENGTHS):  # of a build that does not say how long rows are
        body = exact_json(text)
        return [_as_object(plain_json(row)) for row in body.pop("data")], body
    end = text.index(b"]") + 1
    lengths = orjson.loads(text[len(LENGTHS) : end])
    if not text.startswith(DATA, end):
        raise ValueError("its lengths are not those of `data`")
    begin = end + len(DATA)
    rows = list(_cut(text, begin, lengths))
    behind = begin + sum(lengths) + max(0, len(lengths) - 1)
    if not text.startswith(b"],", behind):
        raise ValueError("its rows end elsewhere")
    return rows, orjson.loads(b"{" + text[behind + 2 :])


def _cut(text: bytes, begin: int, lengths: list[int]) -> Iterator[bytes]:
    for nth, length in enumerate(lengths):
        if nth and not text.startswith(b",", begin - 1):
            raise ValueError("its rows are not where they should be")
        yield _as_object(text[begin : begin + length])
        begin += length + 1


def _as_object(row: bytes) -> bytes:
    if not (row.startswith(b"{") and row.endswith(b"}")):
        raise ValueError("its rows are no documents")
    return row


def of_cell(name: str, row: bytes) -> bytes:
    """A row that begins with the name of its log."""
    return b'{"cell":"%b"%b%b' % (name.encode(), b"" if row == b"{}" else b",", row[1:])
