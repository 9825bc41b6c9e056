"""The newest signed head that each witness has kept, and since when one fails."""

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
    """What a witness has kept last: the head over so many events of a log."""

    id: str
    name: str
    origin: str
    size: int
    kept_at: datetime | None
    failing_since: datetime | None


async def read_witnesses(connection: AsyncConnection) -> list[Witnessed]:
    """All witnesses that were shown a head."""
    rows = await (await connection.execute(FIND, binary=True)).fetchall()
    return [Witnessed(*row) for row in rows]


async def note_kept(
    connection: AsyncConnection, id_: str, name: str, head: tuple[str, int], at: datetime
) -> None:
    """A witness has kept a head."""
    await connection.execute(STORE_WITNESSED, (id_, name, *head, at))


async def note_failed(connection: AsyncConnection, id_: str, name: str, at: datetime) -> None:
    """A witness has not; whether it failed before is kept."""
    await connection.execute(FAILED, (id_, name, at))


async def forget_others(connection: AsyncConnection, ids: Sequence[str]) -> None:
    """Only these are witnesses any more."""
    await connection.execute(FORGET, (list(ids),))
