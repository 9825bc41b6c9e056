"""Stores the times at which API keys were last used. A use is not an event; each process stores its uses once a minute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from psycopg import AsyncConnection

STORE = """INSERT INTO key_uses AS kept SELECT * FROM unnest(%b::text[], %b::timestamptz[]) AS used (key, at)
    ORDER BY key ON CONFLICT (key) DO UPDATE SET at = greatest(kept.at, excluded.at)"""
FIND = "SELECT key, at FROM key_uses WHERE key = ANY(%b::text[])"


async def store_uses(connection: AsyncConnection, uses: Mapping[str, datetime]) -> None:
    """Store when keys were used. A later time that is already stored is kept."""
    await connection.execute(STORE, (list(uses), list(uses.values())))


async def last_uses(connection: AsyncConnection, keys: Iterable[str]) -> dict[str, datetime]:
    """Return when these keys were last used, without those that never were."""
    rows = await (await connection.execute(FIND, (list(keys),))).fetchall()
    return dict(rows)
