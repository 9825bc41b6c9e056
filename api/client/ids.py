"""The ids that clients may choose."""

from __future__ import annotations

import re
from typing import Any

from domain.errors import Invalid, kind_of

ID = re.compile(r"[A-Za-z0-9._~:-]{1,255}")
TAKEN = (".", "..", "analytics", "bulk", "claim", "find", "monitor", "watch")
"""Ids that nothing can have: no client leaves the first two in a path, and where an id would stand,
the others are paths of other operations.
"""


def parse_id(value: Any, path: str = "$id") -> str:
    """An identity. Raises Invalid where it is none."""
    if not (isinstance(value, str) and ID.fullmatch(value)):
        shown = f"`{value}`" if isinstance(value, str) and len(value) <= 300 else kind_of(value)
        raise Invalid.field(
            path, f"must be 1 to 255 characters of A-Z a-z 0-9 . _ ~ : -, but is {shown}"
        )
    return value


def parse_new_id(value: Any, path: str = "$id") -> str:
    """An identity for something to be. Raises Invalid where it is none, or not to be read."""
    try:
        require_free(value)
    except ValueError as error:
        raise Invalid.field(path, str(error)) from None
    return parse_id(value, path)


def require_free(value: Any) -> Any:
    """The value, unless it is an id that nothing can have. Raises ValueError."""
    if value in TAKEN:
        raise ValueError(f"must be none of {', '.join(TAKEN)}, but is `{value}`")
    return value
