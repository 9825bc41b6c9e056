"""The leaf of an event: its stored row as bytes, framed so that no two rows have the same.

All of it is big-endian: the byte 1 (the version of this form), the position, the version and the time in
microseconds since 1970 with 8 bytes each; then stream, type, meta and state, each after its length in 4.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

from domain.eventlog.codec import EventRow

EPOCH = datetime.fromtimestamp(0, UTC)
NUMBERS = struct.Struct(">Bqqq")
LENGTH = struct.Struct(">I")
FORM = 1
HASH_BYTES = 32


def leaf_bytes(row: EventRow) -> bytes:
    """The leaf of a row; `merkle.leaf_hash` of it is in the tree."""
    at = (row.at - EPOCH) // timedelta(microseconds=1)
    parts = (row.stream.encode(), row.type.encode(), row.meta.encode(), bytes(row.data))
    framed = b"".join(LENGTH.pack(len(part)) + part for part in parts)
    return NUMBERS.pack(FORM, row.position, row.version, at) + framed


def _text(column: str) -> str:
    return f"int4send(octet_length({column})) || convert_to({column}, 'UTF8')"


# A time that is infinite, which no writer writes, must not make the statement fail: it is the latest.
HASH = f"""sha256('\\x0001'::bytea || int8send(notification_id) || int8send(originator_version)
    || int8send(CASE WHEN isfinite(at) THEN (extract(epoch FROM at) * 1000000)::bigint
        ELSE 9223372036854775807 END)
    || {_text("originator_id")} || {_text("topic")} || {_text("meta")}
    || int4send(octet_length(state)) || state)"""
"""`leaf_hash(leaf_bytes(row))` as PostgreSQL computes it, so that only hashes travel."""
