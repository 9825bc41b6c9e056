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
MOST = 10_000
"""Streams before one vacuum."""

UNSWEPT = """SELECT originator_id FROM data_keys WHERE NOT swept AND originator_id > %s
    ORDER BY originator_id LIMIT %s"""
FORGET = (
    """UPDATE webhook_progress AS p SET answer = NULL FROM webhook_deliveries AS d
        WHERE d.stream = ANY(%(streams)s) AND d.answer <> '' AND p.webhook = d.webhook
            AND p.last_at = d.at""",
    """UPDATE webhook_deliveries SET answer = NULL
        WHERE stream = ANY(%(streams)s) AND answer <> ''""",
    "DELETE FROM snapshots WHERE originator_id = ANY(%(streams)s)",
)
SETTLING = "SELECT FROM webhook_head FOR UPDATE"
"""Waits for transactions that store answers, as they lock this row. Later ones see that the key was destroyed."""
TIMEOUT = "SET statement_timeout = %d"
VACUUM = "VACUUM (INDEX_CLEANUP OFF, TRUNCATE OFF, SKIP_LOCKED) data_keys"
"""Removes former versions of rows from their pages, without cleaning up the indexes, which have no keys."""
SWEPT = "UPDATE data_keys SET swept = true WHERE originator_id = ANY(%s)"


class Sweeper(OwnedWork):
    """Deletes the remains of erased content within a moment of each erasure."""

    work: ClassVar[str] = "erasures"

    async def run(self, connection: AsyncConnection) -> None:
        """Sweep until cancelled."""
        while True:
            if not await self.sweep(connection):
                await self.wait_for_work(connection)

    async def sweep(self, connection: AsyncConnection) -> bool:
        """Sweep for erased streams, vacuum, and mark them as swept. Return whether there were any.

        They are marked last, so the next owner repeats what this one did not finish, and no vacuum runs where no key was
        destroyed.
        """
        streams: list[str] = []
        while len(streams) < MOST and (found := await _unswept(connection, streams)):
            async with connection.transaction():
                await connection.execute(SETTLING)
                for query in FORGET:
                    await connection.execute(query, {"streams": found})
            streams += found
        if streams:
            await self.vacuum(connection)
            await connection.execute(SWEPT, (streams,))
        return bool(streams)

    async def vacuum(self, connection: AsyncConnection) -> None:
        """Remove the former versions of the rows of destroyed keys."""
        await connection.execute(TIMEOUT % 60_000)
        try:
            await connection.execute(VACUUM)
        finally:
            await connection.execute(TIMEOUT % 5_000)


async def _unswept(connection: AsyncConnection, before: list[str]) -> list[str]:
    """The next unswept streams after those in `before`, in the order of their names."""
    cursor = await connection.execute(UNSWEPT, (before[-1] if before else "", AT_ONCE))
    return [row[0] for row in await cursor.fetchall()]
