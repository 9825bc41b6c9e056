"""Parses paths into a document: `metadata.a.b`, and `metadata["a.b"]` for a key that has a dot.

A dot outside quotes either leads from an object to its member or belongs to a key. If the document has both, the longest
key counts: `metadata.gen_ai.request.model` finds the key `gen_ai.request.model`, and if there is none, `model` inside
`request` inside `gen_ai`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

MOST_KEYS = 128
"""Segments that a path may have."""
MOST_DOTS = 4
"""Dots outside quotes for which all combinations of keys and members are tried. In a path with more dots, either all of
them lead to members, or all belong to keys."""

QUOTED = r'\["(?:[^"\\]|\\.)*"\]'
TOKEN = re.compile(rf'(?P<quoted>{QUOTED})|(?:\A|\.)(?P<plain>(?:(?!\[")[^.])+)', re.DOTALL)
BEFORE_OPERATOR = re.compile(rf"(?:{QUOTED}|[^\[])*", re.DOTALL)
ITEM = re.compile(rf"((?:{QUOTED}|[^,])*)(?:,|\Z)", re.DOTALL)

Keys = tuple[str, ...]


class FieldSegment(NamedTuple):
    """A segment of a path. A quoted segment is always a whole key."""

    key: str
    quoted: bool = False


def split_operator(name: str) -> tuple[str, str]:
    """Split the name of a query parameter into its path and what follows, such as `[gte]`."""
    found = BEFORE_OPERATOR.match(name)
    path = found[0] if found else ""
    return path, name[len(path) :]


def split_list(text: str) -> list[str]:
    """Return the paths in a comma-separated list. A comma in quotes belongs to its path."""
    return ITEM.findall(text + ",")[:-1]


def segments(path: str) -> tuple[FieldSegment, ...]:
    """Return the segments of a path; none if the text is not a valid path."""
    found: list[FieldSegment] = []
    end = 0
    for token in TOKEN.finditer(path):
        segment = _segment(token)
        if token.start() != end or segment is None:
            return ()
        found.append(segment)
        end = token.end()
    return tuple(found) if end == len(path) and len(found) <= MOST_KEYS else ()


def readings(parts: Sequence[FieldSegment]) -> tuple[Keys, ...]:
    """Return the sequences of keys that a path may mean, those with the longest keys first."""
    dots = sum(not (part.quoted or following.quoted) for part, following in pairwise(parts))
    if dots <= MOST_DOTS:
        return tuple(_combinations(parts))
    return _join(parts), tuple(part.key for part in parts)


def _segment(token: re.Match[str]) -> FieldSegment | None:
    if token["plain"]:
        return FieldSegment(token["plain"])
    try:
        key = json.loads(token["quoted"][1:-1], strict=False)
    except ValueError:
        return None
    return FieldSegment(key, quoted=True) if key else None


def _combinations(parts: Sequence[FieldSegment]) -> Iterator[Keys]:
    if not parts:
        yield ()
    for length in range(_longest_key(parts), 0, -1):
        key = ".".join(part.key for part in parts[:length])
        for further_keys in _combinations(parts[length:]):
            yield (key, *further_keys)


def _join(parts: Sequence[FieldSegment]) -> Keys:
    length = _longest_key(parts)
    if not length:
        return ()
    return (".".join(part.key for part in parts[:length]), *_join(parts[length:]))


def _longest_key(parts: Sequence[FieldSegment]) -> int:
    """Return how many of the first segments may together be one key."""
    plain = next((index for index, part in enumerate(parts) if part.quoted), len(parts))
    return plain or min(len(parts), 1)
