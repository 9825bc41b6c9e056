"""Parses the preferences of a client in the header `Prefer` (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from api.web.headers import items

PREFERENCE = re.compile(
    r"""([!#$%&'*+\-.^_`|~0-9A-Za-z]+)      # its name, a token
        (?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]*))?  # its value, a token or in quotes
        \s*(?:;.*)?                         # parameters, of which none is known here""",
    re.VERBOSE,
)
MINIMAL = "return=minimal"
ESCAPED = re.compile(r"\\(.)")
SECONDS = re.compile(r"[0-9]{1,9}")


def preferences(prefer: str) -> Mapping[str, str]:
    """The values of the preferences by name in lower case; a preference without a value has an empty value.

    What cannot be parsed is ignored, and so is a preference after the first of the same name.
    """
    found: dict[str, str] = {}
    for item in items(prefer):
        if parsed := PREFERENCE.fullmatch(item):
            found.setdefault(parsed[1].lower(), _unquote(parsed[2] or ""))
    return found


def wants_minimal(prefer: str) -> bool:
    """Whether `Prefer` contains `return=minimal`."""
    return prefer == MINIMAL or preferences(prefer).get("return") == "minimal"


def wants_receipt(prefer: bytes) -> bool:
    """Whether a header `Prefer` contains `receipt`."""
    return b"receipt" in prefer.lower() and "receipt" in preferences(prefer.decode("latin-1"))


def seconds_to_wait(prefer: str) -> int | None:
    """The seconds of the preference `wait=<seconds>`; None without it."""
    wait = preferences(prefer).get("wait", "")
    return int(wait) if SECONDS.fullmatch(wait) else None


def _unquote(value: str) -> str:
    return ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
