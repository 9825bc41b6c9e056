"""Decodes paths segment by segment: `a%2Fb` is one segment, although it holds a slash once it is decoded."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor

PARTING = re.compile(rb"%(?=25|2f)", re.IGNORECASE)
SEGMENT = "segment"


def decode_path(raw_path: bytes) -> str:
    """The decoded path, in which the slashes and percent signs of its segments are encoded still."""
    return unquote(PARTING.sub(b"%25", raw_path).decode("ascii"))


class PathSegment(Convertor[str]):
    """The text of one segment of a path that `decode_path` made."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value) if "%" in value else value

    def to_string(self, value: str) -> str:
        raise NotImplementedError("paths are read here, never made")


register_url_convertor(SEGMENT, PathSegment())
