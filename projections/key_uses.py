"""When API keys were last used. No event says so: each process notes it once a minute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from psycopg import AsyncConnection

STORE = """INSERT INTO key_uses AS kept SELECT * FROM unnest(%b::text[], %b::timestamptz[]) AS used (key, at)
    ORDER BY key ON CONFLICT (key) DO UPDATE SET at = greatest(kept.at, excluded.at)"""
FIND = "SELECT key, at FROM key_uses WHERE key = ANY(%b::text[])"


async def store_uses(connection: AsyncConnection, uses: Mapping[str, datetime]) -> None:
    """Note when keys were used; a later time stays."""
    await connection.execute(STORE, (list(uses), list(uses.values())))


async def last_uses(connection: AsyncConnection, keys: Iterable[str]) -> dict[str, datetime]:
    """When some keys were last used; those that never were are left out."""
    rows = await (await connection.execute(FIND, (list(keys),))).fetchall()
    return dict(rows)
