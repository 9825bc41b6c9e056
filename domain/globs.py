"""Globs over the names of events: `*` stands for any characters, also for none."""

from __future__ import annotations


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
