"""The leaf of an event: its stored row as bytes, framed so that different rows have different bytes.

All numbers are big-endian: the byte 1 (the version of this format); position, version, and the time in microseconds since
1970, with 8 bytes each; then stream, type, meta and state, each after its length in 4 bytes.
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
    """Return the leaf of a row. The tree has its hash, `merkle.leaf_hash`."""
    at = (row.at - EPOCH) // timedelta(microseconds=1)
    parts = (row.stream.encode(), row.type.encode(), row.meta.encode(), bytes(row.data))
    framed = b"".join(LENGTH.pack(len(part)) + part for part in parts)
    return NUMBERS.pack(FORM, row.position, row.version, at) + framed


def _text(column: str) -> str:
    return f"int4send(octet_length({column})) || convert_to({column}, 'UTF8')"


# An infinite time, which no writer writes, must not make the statement fail: it is hashed as the latest time.
HASH = f"""sha256('\\x0001'::bytea || int8send(notification_id) || int8send(originator_version)
    || int8send(CASE WHEN isfinite(at) THEN (extract(epoch FROM at) * 1000000)::bigint
        ELSE 9223372036854775807 END)
    || {_text("originator_id")} || {_text("topic")} || {_text("meta")}
    || int4send(octet_length(state)) || state)"""
"""SQL that computes `leaf_hash(leaf_bytes(row))`, so that only the hash leaves the database."""
