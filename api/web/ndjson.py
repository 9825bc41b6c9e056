"""What a body of many holds: a JSON list, or NDJSON, one value a line."""

from __future__ import annotations

import re
from typing import Any

import orjson
from pydantic_core import from_json

from api.web.problems import Malformed

LONG_NUMBER = re.compile(rb"[0-9]{19}")
PLACE = re.compile(r"(: line 1 column| at line 1 column) (\d+)( \(char \d+\))?$")


def value(text: bytes) -> Any:
    """The value of a JSON text. Raises ValueError.

    orjson is faster, but makes fractions of long whole numbers, unseen.
    """
    return from_json(text, allow_inf_nan=False) if LONG_NUMBER.search(text) else orjson.loads(text)


def items(body: bytes) -> list[Any]:
    """The values of a list, or of lines.

    Raises:
        Malformed: it is not well-formed, and where.
    """
    if body.lstrip()[:1] != b"[":
        return _lines(body.rstrip().splitlines())
    try:
        found: list[Any] = value(body)
    except ValueError as error:
        raise Malformed(f"The body is a malformed JSON list: {error}.") from None
    return found


def _lines(lines: list[bytes]) -> list[Any]:
    found = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                found.append(value(line))
        except ValueError as error:
            # Each line is a text of its own, of which the library says that it has one line.
            reason = PLACE.sub(r" at column \2", str(error))
            raise Malformed(
                f"The body is malformed NDJSON: line {number} of {len(lines)}: {reason}."
            ) from None
    return found
