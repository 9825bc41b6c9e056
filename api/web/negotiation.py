"""Finds which of two media types a client prefers, by the header Accept (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from api.web.headers import items

QUALITY = re.compile(r";\s*q=([01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)
BY_NAME = 2
"""The exactness of a media range that is the media type itself."""


class Preference(NamedTuple):
    """How much a client prefers a media type; greater is preferred, compared field by field."""

    quality: float
    exactness: int
    earliness: int


UNWANTED = Preference(0, 0, 0)


def names(accept: str, media_type: str) -> bool:
    """Whether a client accepts a media type by its full name, not only by a range such as `*/*`."""
    return media_type in accept.lower() and preference(accept, media_type).exactness == BY_NAME


def prefers(accept: str, media_type: str, other: str) -> bool:
    """Whether a client accepts a media type by its full name, and prefers it to another."""
    return names(accept, media_type) and preference(accept, media_type) > preference(accept, other)


def preference(accept: str, media_type: str) -> Preference:
    """How much a client prefers a media type, by the range in `accept` that matches it most exactly."""
    ranges = {"*/*": 0, media_type.partition("/")[0] + "/*": 1, media_type: BY_NAME}
    matching = [
        Preference(quality, ranges[name], -index)
        for index, (name, quality) in enumerate(_ranges(accept))
        if name in ranges
    ]
    best = max(matching, key=lambda match: match[1:], default=UNWANTED)
    return best if best.quality else UNWANTED


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for item in items(accept):
        quality = QUALITY.search(item)
        yield item.partition(";")[0].strip().lower(), float(quality[1]) if quality else 1.0
