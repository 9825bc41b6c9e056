"""Replies: the answers to requests with an idempotency key, stored beside the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.errors import DomainError, IdempotencyKeyReused
from domain.eventlog.connection.pg_arrays import columns

REPLY_RETENTION = timedelta(hours=24)
"""How long a reply is stored, and its key may not be used for another request."""

CLAIM = """INSERT INTO idempotency_keys AS kept (key, fingerprint, at, outcome)
    VALUES (%b, %b, %b, %b) ON CONFLICT (key) DO UPDATE SET
        fingerprint = excluded.fingerprint, at = excluded.at, outcome = excluded.outcome
    WHERE kept.at <= %b RETURNING key"""
STORE = """INSERT INTO idempotency_keys AS kept
    SELECT * FROM unnest(%b::text[], %b::text[], %b::timestamptz[], %b::text[])
    ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, at = excluded.at,
        outcome = excluded.outcome WHERE kept.at <= %b"""
FORGET = """DELETE FROM idempotency_keys WHERE at <= %b AND key IN (
    SELECT key FROM idempotency_keys WHERE at <= %b ORDER BY at LIMIT %b)"""
FORGOTTEN_AT_ONCE = 5_000
"""Replies that one statement deletes at most, so that it is short."""
ARRAYS = ("text", "text", "timestamptz", "text")
REPLY = "SELECT key, fingerprint, outcome FROM idempotency_keys WHERE key = %b"


async def claim(
    connection: AsyncConnection, once: IdempotencyKey, outcome: dict[str, Any], at: datetime
) -> Reply | None:
    """Store an outcome under a key, if none is stored, and return None; otherwise return the stored reply.

    Of two transactions with the same key, the second waits until the first has ended.
    """
    row = (*once, at, orjson.dumps(outcome).decode(), at - REPLY_RETENTION)
    if await (await connection.execute(CLAIM, row)).fetchone() is not None:
        return None
    kept = await read_reply(connection, once)
    assert kept is not None  # the insert has found the row
    return kept


async def read_reply(connection: AsyncConnection, once: IdempotencyKey) -> Reply | None:
    """The reply that is stored under a key, or None."""
    kept = await (await connection.execute(REPLY, (once.key,))).fetchone()
    return None if kept is None else Reply(*kept)


async def store_replies(
    connection: AsyncConnection, replies: Sequence[Reply], at: datetime
) -> bool:
    """Store replies in the transaction of `connection`. Return False where one of their keys has a reply already."""
    rows = [(reply.key, reply.fingerprint, at, reply.outcome) for reply in replies]
    kept = await connection.execute(STORE, (*columns(ARRAYS, rows), at - REPLY_RETENTION))
    return kept.rowcount == len(replies)


async def forget_some(connection: AsyncConnection, until: datetime) -> bool:
    """Delete `FORGOTTEN_AT_ONCE` replies up to a time, at most. Return whether there may be more."""
    deleted = await connection.execute(FORGET, (until, until, FORGOTTEN_AT_ONCE))
    return deleted.rowcount == FORGOTTEN_AT_ONCE


class IdempotencyKey(NamedTuple):
    """An idempotency key, made unique to its caller, and the fingerprint of its request."""

    key: str
    fingerprint: str


class Reply(NamedTuple):
    """A row of `idempotency_keys`; `outcome` is JSON: the stream and version that was the answer, or a refusal."""

    key: str
    fingerprint: str
    outcome: str


def refusal(error: DomainError) -> dict[str, Any]:
    """A refusal, as the outcome of a reply has it."""
    return {"code": error.code, "detail": error.detail, "members": error.members}


def outcome_of(reply: Reply, fingerprint: str) -> dict[str, Any]:
    """The outcome of a reply to the request with this fingerprint.

    Raises:
        IdempotencyKeyReused: the reply was to a request with another method, path or body.
        DomainError: the outcome is a refusal.
    """
    if reply.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    outcome: dict[str, Any] = orjson.loads(reply.outcome)
    if "code" in outcome:
        raise DomainError.again(outcome["code"], outcome["detail"], outcome["members"])
    return outcome
