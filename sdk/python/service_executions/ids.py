"""Makes unique ids: ULIDs, which begin with the time of their creation and so sort by it."""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32."""


def new_id(prefix: str) -> str:
    """Return a new id, such as `exec_01JD8V6T2M9C3R0K4W7Y5N1ZQX`."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    digits = (ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
    return f"{prefix}_{''.join(digits)}"
