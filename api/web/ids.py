"""The ids that clients may choose."""

from __future__ import annotations

import re
from typing import Any

from domain.errors import Invalid

ID = re.compile(r"[A-Za-z0-9._~:-]{1,255}")
TAKEN = ("find", "monitor", "watch")
"""Ids that no execution can have: their paths are those of other operations."""


def checked_id(value: Any, path: str = "$id") -> str:
    """An identity. Raises Invalid where it is none."""
    if not (isinstance(value, str) and ID.fullmatch(value)):
        raise Invalid.field(path, "must be 1 to 255 characters of A-Z a-z 0-9 . _ ~ : -")
    return value


def checked_new_id(value: Any, path: str = "$id") -> str:
    """An identity for an execution to be. Raises Invalid where it is none, or not to be read."""
    if value in TAKEN:
        raise Invalid.field(path, f"`{value}` is taken: `/executions/{value}` is something else")
    return checked_id(value, path)
