"""Paths into a document: `metadata.a.b`, and `metadata["a.b"]` for a key that has a dot in it.

A dot without quotes either leads from an object to its member or belongs to a key: where both are
there, the longest key counts. So `metadata.gen_ai.request.model` finds the key
`gen_ai.request.model`, and without one `model` inside `request` inside `gen_ai`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

MOST_KEYS = 128
MOST_DOTS = 4
"""Of more unquoted dots in a row either all lead to members, or all belong to one key."""

QUOTED = r'\["(?:[^"\\]|\\.)*"\]'
TOKEN = re.compile(rf'(?P<quoted>{QUOTED})|(?:\A|\.)(?P<plain>(?:(?!\[")[^.])+)', re.DOTALL)
BEFORE_OPERATOR = re.compile(rf"(?:{QUOTED}|[^\[])*", re.DOTALL)
ITEM = re.compile(rf"((?:{QUOTED}|[^,])*)(?:,|\Z)", re.DOTALL)

Keys = tuple[str, ...]


class FieldSegment(NamedTuple):
    """A part of a path; a quoted one is a whole key."""

    key: str
    quoted: bool = False


def split_operator(name: str) -> tuple[str, str]:
    """The path at the beginning of a query parameter's name, and the rest, like `[gte]`."""
    found = BEFORE_OPERATOR.match(name)
    path = found[0] if found else ""
    return path, name[len(path) :]


def split_list(text: str) -> list[str]:
    """The paths in a comma-separated list; a comma in quotes belongs to its path."""
    return ITEM.findall(text + ",")[:-1]


def segments(path: str) -> tuple[FieldSegment, ...]:
    """The parts of a path; none where it is not one."""
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
    """The keys that a path may mean, longest keys first."""
    dots = sum(not (one.quoted or next_.quoted) for one, next_ in pairwise(parts))
    if dots <= MOST_DOTS:
        return tuple(_ways(parts))
    return _join(parts), tuple(part.key for part in parts)


def _segment(token: re.Match[str]) -> FieldSegment | None:
    if token["plain"]:
        return FieldSegment(token["plain"])
    try:
        key = json.loads(token["quoted"][1:-1], strict=False)
    except ValueError:
        return None
    return FieldSegment(key, quoted=True) if key else None


def _ways(parts: Sequence[FieldSegment]) -> Iterator[Keys]:
    if not parts:
        yield ()
    for length in range(_run(parts), 0, -1):
        key = ".".join(part.key for part in parts[:length])
        for rest in _ways(parts[length:]):
            yield (key, *rest)


def _join(parts: Sequence[FieldSegment]) -> Keys:
    length = _run(parts)
    if not length:
        return ()
    return (".".join(part.key for part in parts[:length]), *_join(parts[length:]))


def _run(parts: Sequence[FieldSegment]) -> int:
    """How many of the first parts may be one key."""
    plain = next((index for index, part in enumerate(parts) if part.quoted), len(parts))
    return plain or min(len(parts), 1)
