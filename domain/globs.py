"""Globs over names of events, in which `*` stands for any number of characters, and suggestions for mistyped names."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

LONGEST_MEANT = 100
"""Characters of a mistyped name that are compared with other names."""


def fits(glob: str, text: str) -> bool:
    """Whether a glob matches a text.

    Each part between two stars is searched once, from the left. A regular expression with many stars would backtrack for an
    exponential time.
    """
    first, *rest = glob.split("*")
    if not rest:
        return glob == text
    if not text.startswith(first):
        return False
    *middle, last = rest
    at = len(first)
    for part in middle:
        if (found := text.find(part, at)) < 0:
            return False
        at = found + len(part)
    return len(text) - len(last) >= at and text.endswith(last)


def meant(word: str, names: Mapping[str, str]) -> str:
    """A question such as `; did you mean …?` with the names that are similar to a mistyped one; empty where none is.

    `names` maps each name to the form to show. Case, `_` and `-` are ignored.
    """
    plain = {_plain(name): shown for name, shown in names.items()}
    near = [f"`{plain[name]}`" for name in get_close_matches(_plain(word), plain, 3, cutoff=0.7)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _plain(name: str) -> str:
    return name[:LONGEST_MEANT].lower().replace("_", "").replace("-", "")
