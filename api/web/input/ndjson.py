"""Parses bodies of several values: a JSON list, or NDJSON, one value a line. The limit of depth is for each value."""

from __future__ import annotations

import re
from typing import Any

from api.problems.problems import Malformed
from api.web.input.json_text import DEEPEST, levels_of, parse, require_depth
from domain.errors import DomainError, Invalid

COLUMN = re.compile(r"(: line 1 column| at line 1 column) (\d+)$")


Item = Any
"""A value, or the refusal of a value that is too deep."""


def value(text: bytes) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: the text is not well-formed, or has a key twice in one object.
        Invalid: the text is too deep.
    """
    found, levels = parse(text)
    require_depth(levels)
    return found


def items(body: bytes) -> list[Item]:
    """The values of a JSON list, or of lines.

    Raises:
        Malformed: the body is not well-formed; names the place.
    """
    if body.lstrip()[:1] != b"[":
        return _lines(body.rstrip().splitlines())
    try:
        found, levels = parse(body)
    except ValueError as error:
        raise Malformed(f"The body is a malformed JSON list: {error}.") from None
    return [_check_depth(item) for item in found] if levels > DEEPEST else list(found)


def _check_depth(item: Any) -> Item:
    try:
        require_depth(levels_of(item))
    except Invalid as error:
        return error
    return item


def _lines(lines: list[bytes]) -> list[Item]:
    found: list[Item] = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                found.append(value(line))
        except DomainError as error:
            found.append(error)
        except ValueError as error:
            # The library parses each line by itself, so its errors say `line 1`.
            reason = COLUMN.sub(r" at column \2", str(error))
            raise Malformed(
                f"The body is malformed NDJSON: line {number} of {len(lines)}: {reason}."
            ) from None
    return found
