"""Decodes paths segment by segment: `a%2Fb` is one segment, which has a slash once it is decoded."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor

PARTING = re.compile(rb"%(?=25|2f)", re.IGNORECASE)
SEGMENT = "segment"


def decode_path(raw_path: bytes) -> str:
    """The decoded path, except that slashes and percent signs within segments stay encoded."""
    return unquote(PARTING.sub(b"%25", raw_path).decode("ascii"))


class PathSegment(Convertor[str]):
    """Converts one segment of a path that `decode_path` has returned to its text."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value) if "%" in value else value

    def to_string(self, value: str) -> str:
        raise NotImplementedError("paths are read here, never made")


register_url_convertor(SEGMENT, PathSegment())
