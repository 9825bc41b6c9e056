"""The names of events: globs over them (`*` stands for any characters, also for none), and which one was meant."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

LONGEST_MEANT = 100
"""Characters of a name by which others that are like it are looked for."""


def fits(glob: str, text: str) -> bool:
    """Whether a glob matches a text.

    Each part between two stars is looked for once, from the left. As a regular expression a glob
    with many stars takes longer than the service lives.
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
    """The question whether one of the names that are like a mistyped one was meant; empty where none is.

    `names` has what to show of each. How words are parted, and which letters are capitals, tells none apart.
    """
    plain = {_plain(name): shown for name, shown in names.items()}
    near = [f"`{plain[name]}`" for name in get_close_matches(_plain(word), plain, 3, cutoff=0.7)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _plain(name: str) -> str:
    return name[:LONGEST_MEANT].lower().replace("_", "").replace("-", "")
