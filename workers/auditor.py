"""Walks through the log, slowly, and reports what does not fit.

A step looks at the events of one tile: each against its leaf in the tree, its version against the one before, and
the executions that begin there against what the lists have of them. A round goes as far as the signed tree did when
it began. What does not fit is looked at once more, after a moment, before it is reported: in the log, once, and
once more when it is gone.
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
from domain.errors import DomainError
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
"""From the beginning of a round to that of the next, at least."""
IDLE = 30.0
"""Seconds between two looks whether the next round is due."""
AGAIN = 2.0
"""Seconds after which what does not fit is looked at once more."""
TOGETHER = 16
"""Executions that are read together, of each up to a page: one by one, most of the work was to ask for each."""
AT_LENGTH = "SET statement_timeout = '60s'"
"""For the connection of the owner: 256 events may have 256 MiB to hash."""
Look = Callable[[], Awaitable[list[Fault]]]

log = structlog.get_logger()


class Auditor(OwnedWork):
    """Audits one log, at so many events a second."""

    work: ClassVar[str] = "auditor"
    slow: ClassVar[bool] = True

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
        """Take one step after the other."""
        while True:
            await connection.execute(AT_LENGTH)
            while await self.step(connection):
                pass
            await self.wait_for_work(connection, IDLE)

    async def step(self, connection: AsyncConnection) -> bool:
        """Look at the next events, or begin a round that is due; whether there was anything to do."""
        found = await walk.walk_of(connection)
        if found is None:
            log.error("the auditor does not know where it is", reason="its row is lost")
            return False
        head = await head_of(connection)
        if head is not None and head.origin == found.origin and found.position < found.until:
            await self._page(connection, found.position, found.until)
        elif await self._has_tree(connection, head) and (
            self._clock() >= found.began_at + EVERY or (head and head.origin != found.origin)
        ):
            await self._begin(connection)
        else:
            return False
        await self._report(connection)
        return True

    @staticmethod
    async def _has_tree(connection: AsyncConnection, head: TreeHead | None) -> bool:
        """Not before the first head is signed, of a new log or of one that has another id by now."""
        log_id, _ = await log_of(connection)
        return head is None or head.origin == origin_of(log_id)

    async def _begin(self, connection: AsyncConnection) -> None:
        """Begin a round: where the log ends, and whether its head is signed."""

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

    async def _page(self, connection: AsyncConnection, after: int, until: int) -> None:
        until = min(after - after % WIDTH + WIDTH, until)
        faults = await self._confirm(lambda: self._events(connection, after, until))
        begun = await read_begun(connection, after, until)
        for first in range(0, len(begun), TOGETHER):
            of_some = partial(self._check.faults_of, begun[first : first + TOGETHER])
            faults += await self._confirm(of_some)
        await walk.reach(connection, until, await self._store_faults(connection, faults))
        await self._pace(until - after)
        found = await walk.walk_of(connection)
        if found is not None and found.position >= found.until:
            await self._end_round(connection)

    async def _events(self, connection: AsyncConnection, after: int, until: int) -> list[Fault]:
        head = await head_of(connection)
        if head is None or head.size < until:  # it is another log by now
            return []
        return [
            *await page_faults(connection, after, until),
            *await find_misplaced(self._store, after, until),
        ]

    async def _confirm(self, look: Look) -> list[Fault]:
        """What is found twice, with a moment between."""
        faults = await look()
        if not faults:
            return []
        await asyncio.sleep(AGAIN)
        places = {walk.fault_id(fault) for fault in faults}
        return [fault for fault in await look() if walk.fault_id(fault) in places]

    async def _pace(self, events: int) -> None:
        await asyncio.sleep(events / self._rate)

    async def _store_faults(self, connection: AsyncConnection, faults: list[Fault]) -> int:
        """Note what was found; how many faults."""
        for fault in faults:
            if await walk.store_fault(connection, fault):
                log.error("what is stored does not fit", fault=str(fault))
        return len(faults)

    async def _report(self, connection: AsyncConnection) -> None:
        """Say in the log what it does not say yet."""
        for id_, fault in await walk.read_unreported(connection):
            if await self._send(id_, ReportFault(**fault.members())):
                await walk.mark_reported(connection, id_)

    async def _end_round(self, connection: AsyncConnection) -> None:
        """Say which faults of before are gone."""
        for id_ in await walk.stale(connection):
            if await self._send(id_, WithdrawFault()):
                log.info("a fault is gone", fault=id_)
                await walk.forget(connection, id_)

    async def _send(self, id_: str, command: Command[AuditFault]) -> bool:
        message = Message(f"fault/{id_}", command, ACTOR, correlation="auditor")
        try:
            await self._writer.send(message)
        except DomainError as error:
            log.warning("the log cannot say what the auditor found", reason=error.detail)
            return False
        return True
