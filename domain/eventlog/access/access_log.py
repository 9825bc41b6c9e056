"""Records reads in the access log, many in one commit. A read is answered only after it was recorded.

All writers add to one chain of entries: the row `access_head` has the last hash, and a writer locks it until its commit. A
process whose cached head is still the last one needs one round trip; otherwise it locks the row first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import NamedTuple

import structlog
from psycopg import AsyncConnection

from domain.errors import Overloaded
from domain.eventlog.access.entry import SEPARATOR, Access, chain_hash, entry_bytes
from domain.eventlog.connection.pg_arrays import columns, placeholders
from domain.eventlog.connection.shared import SharedDatabase
from domain.eventlog.connection.timeouts import OUTAGES, cut_after, is_closed_by_server
from domain.eventlog.sessions import session_options
from domain.supervisor import cancel

MOST_AT_ONCE = 500
"""Entries in one commit."""
MOST_WAITING = 20_000
"""Reads that wait to be recorded; further ones are refused."""
CONNECT_TIMEOUT, WRITE_TIMEOUT = 3, 5
"""Seconds for connecting, and for writing a batch."""
GATHER = 0.001
"""Seconds to wait for more reads before a commit, if the last batch had several."""
RETRY_AFTER = 0.2
"""Seconds before the next batch after a failure, so that the database is not queried for each read."""
TAKE = "BEGIN; SELECT id, at, hash FROM access_head FOR UPDATE"
ARRAYS = ("bigint", "timestamptz", *["text"] * 8, "bytea")
ADD = f"""WITH moved AS (
        UPDATE access_head SET id = %b, at = %b, hash = %b WHERE id = %b AND hash = %b RETURNING id)
    INSERT INTO access_log (
        id, at, actor, credential, operation, executions, address, purpose, correlation, detail, hash)
    SELECT id, at, actor, credential, operation, string_to_array(executions, E'\\n'), address, purpose,
        correlation, detail, hash
    FROM unnest({placeholders(ARRAYS)}) AS entry (
        id, at, actor, credential, operation, executions, address, purpose, correlation, detail, hash)
    WHERE EXISTS (SELECT FROM moved)"""
UNRECORDED = (
    "The read cannot be recorded in the access log now, so it is not answered. Send it again."
)

log = structlog.get_logger()


class AccessHead(NamedTuple):
    """The last entry of the chain: its id, its time and its hash."""

    id: int
    at: datetime
    hash: bytes


class AccessLog:
    """Queues reads; one task writes them in batches, and wakes the callers once theirs are recorded."""

    def __init__(
        self,
        conninfo: str,
        schema: str,
        clock: Callable[[], datetime],
        shared: SharedDatabase | None = None,
    ) -> None:
        """With a `shared` database its connection takes one of the writer slots."""
        self._slots = None if shared is None else shared.writer_slots
        self._conninfo = conninfo
        self._options = f"{session_options(schema)} -c lock_timeout=4s -c statement_timeout=5s"
        self.clock = clock
        self._waiting: list[tuple[Access, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._connection: AsyncConnection | None = None
        self._head: AccessHead | None = None
        """The last entry, if this process wrote it; None where another process may have written since."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task that writes."""
        self._task = asyncio.create_task(self._run(), name="access log")

    async def stop(self) -> None:
        """End the task, and refuse the reads that still wait."""
        if self._task is not None:
            await cancel(self._task)
        self._refuse(self._waiting)
        await self._disconnect()

    async def relocate(self, conninfo: str) -> None:
        """Write to another database from now on."""
        self._conninfo = conninfo
        await self._disconnect()

    async def record(self, access: Access) -> None:
        """Return once a read is recorded durably.

        Raises:
            Overloaded: the read cannot be recorded.
        """
        if len(self._waiting) >= MOST_WAITING or self._task is None or self._task.done():
            raise Overloaded(UNRECORDED)
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((access, done))
        self._wake.set()
        await done

    async def _run(self) -> None:
        last_size = 1
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if last_size > 1:
                    await asyncio.sleep(GATHER)
                batch, self._waiting = (
                    self._waiting[:MOST_AT_ONCE],
                    self._waiting[MOST_AT_ONCE:],
                )
                last_size = len(batch)
                await self._record_batch(batch)
            self._mark_idle()

    def _mark_idle(self) -> None:
        if self._slots is not None and self._connection is not None:
            self._slots.mark_idle(self, self._disconnect)

    async def _record_batch(self, batch: Sequence[tuple[Access, asyncio.Future[None]]]) -> None:
        try:
            await self._write([access for access, _ in batch])
        except Exception as error:  # no read is answered that is not recorded
            if isinstance(error, OUTAGES):
                log.warning("reads cannot be recorded, and are refused", reason=str(error).strip())
            else:
                log.error("reads cannot be recorded, and are refused", exc_info=error)
            self._refuse(batch)
            await self._disconnect()
            await asyncio.sleep(RETRY_AFTER)
        except BaseException:
            self._refuse(batch)
            raise
        else:
            for _, done in batch:
                if not done.done():
                    done.set_result(None)

    def _refuse(self, batch: Sequence[tuple[Access, asyncio.Future[None]]]) -> None:
        for _, done in batch:
            if not done.done():
                done.set_exception(Overloaded(UNRECORDED))

    async def _write(self, accesses: Sequence[Access]) -> None:
        connection = await self._connect()
        with cut_after(WRITE_TIMEOUT, connection):
            head, self._head = self._head, None
            if head is not None and (after := await self._add(connection, head, accesses)):
                self._head = after
                return
            locked_head = await _lock_head(connection)
            after = await self._add(connection, locked_head, accesses)
            if after is None:  # although the row is locked
                raise LookupError("the database has not stored the entries of the access log")
            await connection.execute("COMMIT")
            # If another process writes, too, a try with a cached head would fail again.
            self._head = after if head is None or head.id == locked_head.id else None

    async def _add(
        self, connection: AsyncConnection, head: AccessHead, accesses: Sequence[Access]
    ) -> AccessHead | None:
        """Add entries after `head`; return the new last entry, or None where `head` is not the last one any more."""
        at, before = max(self.clock(), head.at), head.hash
        rows = []
        for number, access in enumerate(accesses, head.id + 1):
            before = chain_hash(before, entry_bytes(number, at, access))
            texts = (*access[:3], SEPARATOR.join(access.executions), *access[4:])
            rows.append((number, at, *texts, before))
        after = AccessHead(head.id + len(rows), at, before)
        values = [*after, head.id, head.hash, *columns(ARRAYS, rows)]
        cursor = await connection.execute(ADD, values, prepare=True)
        return after if cursor.rowcount == len(rows) else None

    async def _connect(self) -> AsyncConnection:
        if self._slots is not None:
            self._slots.resume(self)
        if self._connection is None or is_closed_by_server(self._connection):
            await self._disconnect()
            connecting = partial(
                AsyncConnection.connect,
                self._conninfo,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT,
                options=self._options,
            )
            if self._slots is None:
                self._connection = await connecting()
            else:
                self._connection = await self._slots.connect(connecting)
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection, self._head = self._connection, None, None
        if connection is not None:
            with suppress(*OUTAGES):
                await connection.close()
            if self._slots is not None:
                self._slots.leave(self)


async def _lock_head(connection: AsyncConnection) -> AccessHead:
    cursor = await connection.execute(TAKE, prepare=False)
    cursor.nextset()
    row = await cursor.fetchone()
    if row is None:
        raise LookupError("the row `access_head` is lost")
    return AccessHead(row[0], row[1], bytes(row[2]))
