"""What was answered under an idempotency key, for what is written beside the log."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson
from psycopg import AsyncConnection

from domain.batch import IdempotencyKey, Reply

REPLIES_KEPT = timedelta(hours=24)

CLAIM = """INSERT INTO idempotency_keys AS kept (key, fingerprint, at, outcome)
    VALUES (%b, %b, %b, %b) ON CONFLICT (key) DO UPDATE SET
        fingerprint = excluded.fingerprint, at = excluded.at, outcome = excluded.outcome
    WHERE kept.at <= %b RETURNING key"""
REPLY = "SELECT key, fingerprint, outcome FROM idempotency_keys WHERE key = %b"


async def claim(
    connection: AsyncConnection, once: IdempotencyKey, outcome: dict[str, Any], at: datetime
) -> Reply | None:
    """None where the key is free: it is kept with the outcome, if the transaction of `connection` is
    committed. Else what was answered. Who comes with a key at the same time waits for the other.
    """
    row = (*once, at, orjson.dumps(outcome).decode(), at - REPLIES_KEPT)
    if await (await connection.execute(CLAIM, row)).fetchone() is not None:
        return None
    kept = await (await connection.execute(REPLY, (once.key,))).fetchone()
    assert kept is not None  # the claim has seen it
    return Reply(*kept)
