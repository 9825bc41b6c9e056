"""Checks the whole log slowly, in rounds, and reports faults.

A step checks the events of one tile: each event against its leaf in the tree, its version against the version before, and the
executions that begin there against their rows in the lists. A round ends at the size that the signed tree had when the round
began. A fault is confirmed by a second check after a moment. Then an event reports it, and another event that it has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar

import structlog
from psycopg import AsyncConnection

from domain.audit.audit_fault import AuditFault, ReportFault, WithdrawFault
from domain.errors import DamagedFile, DomainError
from domain.eventlog.store import Store
from domain.integrity.fault import Fault
from domain.integrity.log import find_misplaced
from domain.model import Command
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.audit.check import head_faults, log_of, start
from projections.audit.note import Signer, origin_of
from projections.audit.rounds import walk
from projections.audit.rounds.page_check import page_faults, read_begun
from projections.audit.tables import TreeHead, head_of
from projections.audit.tiles import WIDTH
from projections.executions.projection import Executions
from projections.history_check import HistoryCheck
from workers.ownership import OwnedWork

ACTOR = "system"
EVERY = timedelta(hours=1)
"""The least time from the beginning of a round to the beginning of the next one."""
IDLE = 30.0
"""Seconds between two checks whether the next round is due."""
AGAIN = 2.0
"""Seconds before a fault is checked again."""
TOGETHER = 16
"""Executions whose first pages are read in one query: with a query for each, most of the time would be spent on queries."""
AT_LENGTH = "SET statement_timeout = '60s'"
"""The time limit of the connection of the owner: 256 events may have 256 MiB to hash."""
Look = Callable[[], Awaitable[list[Fault]]]

log = structlog.get_logger()


class Auditor(OwnedWork):
    """Audits one log, at so many events a second."""

    work: ClassVar[str] = "auditor"
    turn = "slow"

    def __init__(
        self,
        writer: GuardedWriter,
        store: Store,
        conninfo: str,
        secret: bytes,
        rate: int,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(conninfo, store.schema)
        self._writer = writer
        self._store = store
        self._secret = secret
        self._rate = rate
        self._clock = clock
        self._check = HistoryCheck(store, Executions(store.codec), pace=self._pace)

    async def run(self, connection: AsyncConnection) -> None:
        """Check the log until cancelled."""
        while True:
            await connection.execute(AT_LENGTH)
            while await self.step(connection):
                pass
            await self.wait_for_work(connection, IDLE)

    async def step(self, connection: AsyncConnection) -> bool:
        """Check the next events, or begin a round that is due; return False where neither was possible."""
        found = await walk.walk_of(connection)
        if found is None:
            log.error("the auditor cannot continue", reason="the row of its position is lost")
            return False
        head = await head_of(connection)
        if head is not None and head.origin == found.origin and found.position < found.until:
            await self._check_page(connection, found.position, found.until)
        elif await self._may_begin_round(connection, head) and (
            self._clock() >= found.began_at + EVERY or (head and head.origin != found.origin)
        ):
            await self._begin_round(connection)
        else:
            return False
        await self._report_faults(connection)
        return True

    @staticmethod
    async def _may_begin_round(connection: AsyncConnection, head: TreeHead | None) -> bool:
        """Whether a head is signed for the present id of the log; or there is no row of a head, which a round reports."""
        log_id, _ = await log_of(connection)
        return head is None or head.origin == origin_of(log_id)

    async def _begin_round(self, connection: AsyncConnection) -> None:
        """Begin a round with a check of the signed head."""

        async def look() -> list[Fault]:
            found = await start(connection)
            key = Signer(self._secret, origin_of(found.log_id)).public_key
            return list(head_faults(found, key))

        faults = await self._confirm(look)
        head = await head_of(connection)
        until, origin = (head.size, head.origin) if head else (0, "")
        await walk.begin_round(connection, until, origin, self._clock())
        await walk.reach(connection, 0, await self._store_faults(connection, faults))
        if not until:
            await self._end_round(connection)

    async def _check_page(self, connection: AsyncConnection, after: int, until: int) -> None:
        until = min(after - after % WIDTH + WIDTH, until)
        faults = await self._confirm(lambda: self._check_events(connection, after, until))
        try:
            executions = await read_begun(connection, after, until)
        except DamagedFile:
            executions = []  # the file was found above
        for first in range(0, len(executions), TOGETHER):
            check = partial(self._check.faults_of, executions[first : first + TOGETHER])
            faults += await self._confirm(check)
        await walk.reach(connection, until, await self._store_faults(connection, faults))
        await self._pace(until - after)
        found = await walk.walk_of(connection)
        if found is not None and found.position >= found.until:
            await self._end_round(connection)

    async def _check_events(
        self, connection: AsyncConnection, after: int, until: int
    ) -> list[Fault]:
        head = await head_of(connection)
        if head is None or head.size < until:  # the log has another id now
            return []
        return [
            *await page_faults(connection, after, until),
            *await find_misplaced(self._store, after, until),
        ]

    async def _confirm(self, look: Look) -> list[Fault]:
        """The faults that are found twice, with a pause of `AGAIN` seconds between."""
        faults = await _faults_of(look)
        if not faults:
            return []
        await asyncio.sleep(AGAIN)
        first_ids = {walk.fault_id(fault) for fault in faults}
        return [fault for fault in await _faults_of(look) if walk.fault_id(fault) in first_ids]

    async def _pace(self, events: int) -> None:
        await asyncio.sleep(events / self._rate)

    async def _store_faults(self, connection: AsyncConnection, faults: list[Fault]) -> int:
        """Store faults in the table, and log the new ones; return their number."""
        for fault in faults:
            if await walk.store_fault(connection, fault):
                log.error("stored data has a fault", fault=str(fault))
        return len(faults)

    async def _report_faults(self, connection: AsyncConnection) -> None:
        """Record the faults that no event reports yet."""
        for id_, fault in await walk.read_unreported(connection):
            if await self._send(id_, ReportFault(**fault.members())):
                await walk.mark_reported(connection, id_)

    async def _end_round(self, connection: AsyncConnection) -> None:
        """Record which earlier faults were not found any more in this round."""
        for id_ in await walk.stale(connection):
            if await self._send(id_, WithdrawFault()):
                log.info("a fault is gone", fault=id_)
                await walk.forget(connection, id_)

    async def _send(self, id_: str, command: Command[AuditFault]) -> bool:
        message = Message(f"fault/{id_}", command, ACTOR, correlation="auditor")
        try:
            await self._writer.send(message)
        except DomainError as error:
            log.warning("a finding of the auditor cannot be recorded", reason=error.detail)
            return False
        return True


async def _faults_of(look: Look) -> list[Fault]:
    """The faults that a look finds; an archive file that cannot be read is one of them."""
    try:
        return await look()
    except DamagedFile as error:
        return [Fault("archive", error.file, error.detail)]
