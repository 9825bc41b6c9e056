"""Checks the ids that clients choose."""

from __future__ import annotations

import re
from typing import Any

from domain.errors import Invalid, describe

ID = re.compile(r"[A-Za-z0-9._~:-]{1,255}")
TAKEN = (".", "..", "analytics", "bulk", "claim", "find", "monitor", "watch")
"""Reserved ids: clients remove the first two from a path, and the others are paths of operations in the place of an
id.
"""


def parse_id(value: Any, path: str = "$id") -> str:
    """Check an id, and return it. Raises Invalid where it is malformed."""
    if not (isinstance(value, str) and ID.fullmatch(value)):
        words = "must be 1 to 255 characters of A-Z a-z 0-9 . _ ~ : -"
        raise Invalid.field(path, f"{words}, but is {describe(value)}")
    return value


def parse_new_id(value: Any, path: str = "$id") -> str:
    """Check the id of a new resource, and return it. Raises Invalid where it is malformed or reserved."""
    try:
        require_free(value)
    except ValueError as error:
        raise Invalid.field(path, str(error)) from None
    return parse_id(value, path)


def require_free(value: Any) -> Any:
    """Return an id that is not reserved. Raises ValueError for a reserved one."""
    if value in TAKEN:
        raise ValueError(f"must be none of {', '.join(TAKEN)}, but is `{value}`")
    return value
