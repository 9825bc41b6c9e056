"""Sweeps up after erasures: what is kept elsewhere of content whose key was destroyed.

That is the answers of webhook receivers, which may quote what they were sent; snapshots, whose tokens nothing
opens any more; and the row of the destroyed key, of which PostgreSQL keeps the former version until it is vacuumed.
"""

from __future__ import annotations

from typing import ClassVar

from psycopg import AsyncConnection

from workers.ownership import OwnedWork

AT_ONCE = 100

UNSWEPT = "SELECT originator_id FROM data_keys WHERE NOT swept LIMIT %s"
FORGET = (
    """UPDATE webhook_progress AS p SET answer = NULL FROM webhook_deliveries AS d
        WHERE d.stream = ANY(%(streams)s) AND d.answer <> '' AND p.webhook = d.webhook
            AND p.last_at = d.at""",
    """UPDATE webhook_deliveries SET answer = NULL
        WHERE stream = ANY(%(streams)s) AND answer <> ''""",
    "DELETE FROM snapshots WHERE originator_id = ANY(%(streams)s)",
    "UPDATE data_keys SET swept = true WHERE originator_id = ANY(%(streams)s)",
)
SETTLING = "SELECT FROM webhook_head FOR UPDATE"
"""A request that keeps an answer holds this row: it is there by then, or sees that the key was destroyed."""
TIMEOUT = "SET statement_timeout = %d"
VACUUM = "VACUUM (INDEX_CLEANUP OFF, TRUNCATE OFF, SKIP_LOCKED) data_keys"
"""Takes the bytes of former rows out of their pages, and leaves the indexes, which hold no key."""


class Sweeper(OwnedWork):
    """Sweeps within a moment of each erasure."""

    work: ClassVar[str] = "erasures"

    async def run(self, connection: AsyncConnection) -> None:
        """Sweep what is left, again and again; vacuum when there is no more. At first, too: the owner before may have ended
        between the two.
        """
        swept = True
        while True:
            more = await self.sweep(connection)
            if swept and not more:
                await self.vacuum(connection)
            swept = more
            if not more:
                await self.wait_for_work(connection)

    async def sweep(self, connection: AsyncConnection) -> bool:
        """Sweep for some streams, in one transaction; whether there were any."""
        cursor = await connection.execute(UNSWEPT, (AT_ONCE,))
        streams = [row[0] for row in await cursor.fetchall()]
        if not streams:
            return False
        async with connection.transaction():
            await connection.execute(SETTLING)
            for query in FORGET:
                await connection.execute(query, {"streams": streams})
        return True

    async def vacuum(self, connection: AsyncConnection) -> None:
        """Have PostgreSQL take the former rows of destroyed keys out of their pages."""
        await connection.execute(TIMEOUT % 60_000)
        try:
            await connection.execute(VACUUM)
        finally:
            await connection.execute(TIMEOUT % 5_000)
