"""Deletes what remains of erased content after its data key was destroyed.

These are: the answers of webhook receivers, which may quote what was sent to them; snapshots, whose tokens cannot be opened any
more; and the former version of the row of the destroyed key, which stays in the table until PostgreSQL vacuums it.
"""

from __future__ import annotations

from typing import ClassVar

from psycopg import AsyncConnection

from workers.ownership import OwnedWork

AT_ONCE = 100
"""Streams in one transaction."""

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
"""Waits for transactions that store answers, as they lock this row. Later ones see that the key was destroyed."""
TIMEOUT = "SET statement_timeout = %d"
VACUUM = "VACUUM (INDEX_CLEANUP OFF, TRUNCATE OFF, SKIP_LOCKED) data_keys"
"""Removes former versions of rows from their pages, without cleaning up the indexes, which have no keys."""


class Sweeper(OwnedWork):
    """Deletes the remains of erased content within a moment of each erasure."""

    work: ClassVar[str] = "erasures"

    async def run(self, connection: AsyncConnection) -> None:
        """Sweep until cancelled, and vacuum after each sweep. It also vacuums at the start, as a former owner may have ended
        between sweep and vacuum.
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
        """Delete the remains of some streams, in one transaction; return whether there were any."""
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
        """Remove the former versions of the rows of destroyed keys."""
        await connection.execute(TIMEOUT % 60_000)
        try:
            await connection.execute(VACUUM)
        finally:
            await connection.execute(TIMEOUT % 5_000)
