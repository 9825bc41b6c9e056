"""What was answered under an idempotency key, for what is written beside the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.errors import DomainError, IdempotencyKeyReused
from domain.eventlog.connection.pg_arrays import columns

REPLY_RETENTION = timedelta(hours=24)

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
ARRAYS = ("text", "text", "timestamptz", "text")
REPLY = "SELECT key, fingerprint, outcome FROM idempotency_keys WHERE key = %b"


async def claim(
    connection: AsyncConnection, once: IdempotencyKey, outcome: dict[str, Any], at: datetime
) -> Reply | None:
    """None where the key is free: it is kept with the outcome, if the transaction of `connection` is
    committed. Else what was answered. Who comes with a key at the same time waits for the other.
    """
    row = (*once, at, orjson.dumps(outcome).decode(), at - REPLY_RETENTION)
    if await (await connection.execute(CLAIM, row)).fetchone() is not None:
        return None
    kept = await read_reply(connection, once)
    assert kept is not None  # the claim has seen it
    return kept


async def read_reply(connection: AsyncConnection, once: IdempotencyKey) -> Reply | None:
    """What was answered under a key; None where nothing was."""
    kept = await (await connection.execute(REPLY, (once.key,))).fetchone()
    return None if kept is None else Reply(*kept)


async def store_replies(
    connection: AsyncConnection, replies: Sequence[Reply], at: datetime
) -> bool:
    """Keep what was answered, if the transaction is committed. False where one of the keys is used already."""
    rows = [(reply.key, reply.fingerprint, at, reply.outcome) for reply in replies]
    kept = await connection.execute(STORE, (*columns(ARRAYS, rows), at - REPLY_RETENTION))
    return kept.rowcount == len(replies)


async def forget_some(connection: AsyncConnection, until: datetime) -> bool:
    """Drop some of what was answered up to a time; whether there may be more."""
    gone = await connection.execute(FORGET, (until, until, FORGOTTEN_AT_ONCE))
    return gone.rowcount == FORGOTTEN_AT_ONCE


class IdempotencyKey(NamedTuple):
    """A key, made unique to its caller, and the fingerprint of the request that came with it."""

    key: str
    fingerprint: str


class Reply(NamedTuple):
    """What was answered under an idempotency key: the state at a version, or a refusal."""

    key: str
    fingerprint: str
    outcome: str


def refusal(error: DomainError) -> dict[str, Any]:
    """A refusal as the outcome of a reply."""
    return {"code": error.code, "detail": error.detail, "members": error.members}


def outcome_of(reply: Reply, fingerprint: str) -> dict[str, Any]:
    """The outcome of a reply.

    Raises:
        IdempotencyKeyReused: it was the reply to another request, with another method, path or body.
        DomainError: it was a refusal.
    """
    if reply.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    outcome: dict[str, Any] = orjson.loads(reply.outcome)
    if "code" in outcome:
        raise DomainError.again(outcome["code"], outcome["detail"], outcome["members"])
    return outcome
