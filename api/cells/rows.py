"""Splits a page into rows as bytes, which are forwarded without being parsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from projections.representations.client_json import plain_json
from projections.representations.exact_json import exact_json

LENGTHS, DATA, EMPTY = b'{"lengths":', b',"data":[', b"{}"
OPENING, CLOSING, COMMA = b"{},"


def split(text: bytes) -> tuple[list[bytes], dict[str, Any]]:
    """Split a page into its rows and its other members.

    Raises:
        ValueError, TypeError, LookupError: the text is no page.
    """
    if not text.startswith(LENGTHS):  # from a build whose pages have no lengths
        body = exact_json(text)
        rows = [plain_json(row) for row in body.pop("data")]
        return list(_cut(b",".join(rows), 0, [*map(len, rows)])), body
    end = text.index(b"]") + 1
    lengths = orjson.loads(text[len(LENGTHS) : end])
    if not text.startswith(DATA, end):
        raise ValueError("`lengths` is not followed by `data`")
    begin = end + len(DATA)
    rows = list(_cut(text, begin, lengths))
    behind = begin + sum(lengths) + max(0, len(lengths) - 1)
    if not text.startswith(b"],", behind):
        raise ValueError("the rows of the page end elsewhere")
    return rows, orjson.loads(b"{" + text[behind + 2 :])


def _cut(text: bytes, begin: int, lengths: list[int]) -> Iterator[bytes]:
    for nth, length in enumerate(lengths):
        if nth and text[begin - 1] != COMMA:
            raise ValueError("the rows of the page do not have their lengths")
        row = text[begin : begin + length]
        if length < len(EMPTY) or row[0] != OPENING or row[-1] != CLOSING:
            raise ValueError("a row of the page is no object")
        yield row
        begin += length + 1


def of_cell(name: str, row: bytes) -> bytes:
    """Add the name of the log to a row, as the first member."""
    return b'{"cell":"%b"%b%b' % (name.encode(), b"" if row == EMPTY else b",", row[1:])
