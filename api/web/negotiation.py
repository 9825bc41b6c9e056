"""Which of two forms a client prefers, by its Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from api.web.headers import items

QUALITY = re.compile(r";\s*q=([01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)
BY_NAME = 2
"""The exactness of a range that is the media type itself."""


class Preference(NamedTuple):
    """How much a form is wanted: compared as it stands, the greatest is the one to send."""

    quality: float
    exactness: int
    earliness: int


UNWANTED = Preference(0, 0, 0)


def names(accept: str, media_type: str) -> bool:
    """Whether a client names a media type, rather than a range that has it, and takes it."""
    return media_type in accept.lower() and preference(accept, media_type).exactness == BY_NAME


def prefers(accept: str, media_type: str, other: str) -> bool:
    """Whether a client names a media type, and would rather have it than another."""
    return names(accept, media_type) and preference(accept, media_type) > preference(accept, other)


def preference(accept: str, media_type: str) -> Preference:
    """How much a media type is wanted, by the range that fits it most exactly."""
    ranges = {"*/*": 0, media_type.partition("/")[0] + "/*": 1, media_type: BY_NAME}
    fitting = [
        Preference(quality, ranges[name], -index)
        for index, (name, quality) in enumerate(_ranges(accept))
        if name in ranges
    ]
    found = max(fitting, key=lambda one: one[1:], default=UNWANTED)
    return found if found.quality else UNWANTED


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for item in items(accept):
        quality = QUALITY.search(item)
        yield item.partition(";")[0].strip().lower(), float(quality[1]) if quality else 1.0
