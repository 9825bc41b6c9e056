"""Parses JSON, and refuses duplicate keys and values that are too deep."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import orjson
from pydantic_core import from_json

from domain.errors import Invalid

DEEPEST = 128
"""Levels of objects and lists within each other. Answers show a value some levels deeper, and the parsers and
encoders in use fail at about 200 levels."""
LEVELS = f"at most {DEEPEST} levels of objects and lists within each other"
LONG_NUMBER = re.compile(rb"[0-9]{19}")
TOO_DEEP = re.compile("depth limit|recursion limit")
"""Parts of the parsers' errors for a text that is too deep."""
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')


HALF = r"half of a surrogate pair (\ud800 to \udfff) stands without the other"
TOO_LARGE = "a number is larger than a double-precision float can be"
PLAIN = {
    "surrogate": HALF,
    "unexpected end of hex escape": HALF,
    "number is infinity": TOO_LARGE,
    "number out of range": TOO_LARGE,
}
"""Plain error texts, by part of the parsers' errors."""
LINE_AND_COLUMN = re.compile(r"line (\d+) column (\d+)")
CHAR = re.compile(r" \(char \d+\)$")


class DuplicateKey(ValueError):
    """An object of a JSON text has a key twice."""


class Parsed(NamedTuple):
    """A parsed value, and the number of its levels of objects and lists."""

    value: Any
    levels: int


def parse(text: bytes) -> Parsed:
    """Parse a JSON text.

    Raises:
        DuplicateKey: an object has a key twice.
        ValueError: the text is not well-formed.
        Invalid: the text has more levels than the parser takes.
    """
    # orjson is faster, but parses long integers as floats without an error.
    long = LONG_NUMBER.search(text)
    try:
        value = from_json(text, allow_inf_nan=False) if long else orjson.loads(text)
    except ValueError as error:
        _require_utf8(text)
        if TOO_DEEP.search(str(error)):
            raise Invalid.field("", f"must have {LEVELS}, but has many more") from None
        raise ValueError(_in_plain_words(str(error))) from None
    if type(value) is dict and text.count(b"{") == 1 and b"[" not in text:
        keys, levels = len(value), 1  # most commands are flat
    else:
        keys, levels = _measure(value)
    # Each key is followed by a colon, and a parser keeps only the last of equal keys: with as many keys as
    # colons, no key is given twice. Colons within strings are left out only where the numbers differ.
    if text.count(b":") != keys and _count_colons(text) != keys:
        _refuse_duplicate(text)
    return Parsed(value, levels)


def _require_utf8(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 from byte {error.start + 1} on") from None


def _in_plain_words(message: str) -> str:
    """The error text of a parser in plain words, without the position as a number of characters."""
    words = next((words for part, words in PLAIN.items() if part in message), None)
    found = LINE_AND_COLUMN.search(message)
    if words is None or found is None:
        return CHAR.sub("", message)
    return f"{words}: line {found[1]} column {found[2]}"


def require_depth(levels: int) -> None:
    """Raises Invalid where there are more levels than `DEEPEST`."""
    if levels > DEEPEST:
        raise Invalid.field("", f"must have {LEVELS}, but has {levels}")


def levels_of(value: Any) -> int:
    """The number of levels of objects and lists in a value."""
    return _measure(value)[1]


def _measure(value: Any) -> tuple[int, int]:
    """The numbers of keys and of levels. Not recursive, as clients choose the depth; by level is also fastest."""
    keys = levels = 0
    level: list[Any] = [value] if type(value) is dict or type(value) is list else []
    while level:
        levels += 1
        below: list[Any] = []
        for part in level:
            values = part
            if type(part) is dict:
                keys += len(part)
                values = part.values()
            for inner in values:
                kind = type(inner)
                if kind is dict or kind is list:
                    below.append(inner)
        level = below
    return keys, levels


def _count_colons(text: bytes) -> int:
    """The number of colons outside of strings."""
    if b"\\" in text:
        return STRING.sub(b"", text).count(b":")
    # Without escapes, every second piece between quotes is outside of strings.
    return b"".join(text.split(b'"')[::2]).count(b":")


def _refuse_duplicate(text: bytes) -> None:
    try:
        json.loads(text, object_pairs_hook=_require_unique)
    except RecursionError:
        raise DuplicateKey("a key is given twice in one object") from None


def _require_unique(pairs: list[tuple[str, Any]]) -> None:
    seen = set[str]()
    for key, _ in pairs:
        if key in seen:
            raise DuplicateKey(f"the key {json.dumps(key)[:260]} is given twice in one object")
        seen.add(key)
