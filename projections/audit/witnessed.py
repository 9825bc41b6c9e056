"""Stores the newest signed head that each witness has kept, and since when a witness has been failing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

FIND = "SELECT id, name, origin, size, kept_at, failing_since FROM audit_witnesses ORDER BY name"
STORE_WITNESSED = """INSERT INTO audit_witnesses (id, name, origin, size, kept_at) VALUES (%b, %b, %b, %b, %b)
    ON CONFLICT (id) DO UPDATE SET origin = excluded.origin, size = excluded.size,
        kept_at = excluded.kept_at, failing_since = NULL"""
FAILED = """INSERT INTO audit_witnesses AS w (id, name, origin, size, failing_since)
    VALUES (%b, %b, '', 0, %b) ON CONFLICT (id) DO UPDATE
    SET failing_since = coalesce(w.failing_since, excluded.failing_since)"""
FORGET = "DELETE FROM audit_witnesses WHERE NOT id = ANY(%b::text[])"


class Witnessed(NamedTuple):
    """The last head that a witness has kept: of the first `size` events of the log `origin`."""

    id: str
    name: str
    origin: str
    size: int
    kept_at: datetime | None
    failing_since: datetime | None


async def read_witnesses(connection: AsyncConnection) -> list[Witnessed]:
    """Return all witnesses to which a head was sent, by name."""
    rows = await (await connection.execute(FIND, binary=True)).fetchall()
    return [Witnessed(*row) for row in rows]


async def note_kept(
    connection: AsyncConnection, id_: str, name: str, head: tuple[str, int], at: datetime
) -> None:
    """Store that a witness has kept a head."""
    await connection.execute(STORE_WITNESSED, (id_, name, *head, at))


async def note_failed(connection: AsyncConnection, id_: str, name: str, at: datetime) -> None:
    """Store that a witness has failed; the time of its first failure in a row is kept."""
    await connection.execute(FAILED, (id_, name, at))


async def forget_others(connection: AsyncConnection, ids: Sequence[str]) -> None:
    """Delete all witnesses except these."""
    await connection.execute(FORGET, (list(ids),))
