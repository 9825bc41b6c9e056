"""Sends the newest signed head to each witness at its interval. A witness that fails does not affect the others, and is tried
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar

import structlog
from psycopg import AsyncConnection

from domain.supervisor import cancel
from projections.audit.tables import TreeHead, head_of
from projections.audit.witnessed import (
    Witnessed,
    forget_others,
    note_failed,
    note_kept,
    read_witnesses,
)
from workers.ownership import OwnedWork
from workers.witnesses.witness_types import NotKept, Witness

POLL = 10.0
"""Seconds between two polls for a new head."""
ANSWER_TIMEOUT = 30.0
"""Seconds to wait for the answer of a witness, such as a file on a machine that does not respond. The witness gets no other
head before it has answered.
"""
NO_ANSWER = f"no answer within {ANSWER_TIMEOUT:g} s"

log = structlog.get_logger()


class HeadPublisher(OwnedWork):
    """Publishes the heads of a log, one process at a time."""

    work: ClassVar[str] = "witness"

    def __init__(
        self,
        witnesses: Sequence[Witness],
        conninfo: str,
        schema: str,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(conninfo, schema)
        self._witnesses = witnesses
        self._clock = clock
        self._under_way: dict[str, tuple[TreeHead, asyncio.Task[str | None]]] = {}
        """By the ids of witnesses: the head that is being sent to each, and the task that sends it."""

    async def run(self, connection: AsyncConnection) -> None:
        """Publish new heads until cancelled."""
        await forget_others(connection, [witness.id for witness in self._witnesses])
        while True:
            await self.publish(connection)
            await asyncio.sleep(POLL)

    async def stop(self) -> None:
        await super().stop()
        await cancel(*(task for _, task in self._under_way.values()))

    async def publish(self, connection: AsyncConnection) -> None:
        """Send the newest head to those witnesses that are due."""
        head = await head_of(connection)
        if head is None or not head.origin or not head.size:
            return
        rows = {each.id: each for each in await read_witnesses(connection)}
        now = self._clock()
        due = [each for each in self._witnesses if _is_due(each, rows.get(each.id), head, now)]
        for witness in due:
            if witness.id not in self._under_way:
                task = asyncio.create_task(_keep(witness, head), name=f"witness {witness.name}")
                self._under_way[witness.id] = head, task
        if due:
            await asyncio.wait(
                [self._under_way[each.id][1] for each in due], timeout=ANSWER_TIMEOUT
            )
        for witness in due:
            before = rows.get(witness.id)
            failed = before is not None and before.failing_since is not None
            sent, why = self._outcome(witness.id)
            if why is None:
                identity = sent.origin, sent.size
                await note_kept(connection, witness.id, witness.name, identity, now)
                if failed:
                    log.info("a witness keeps heads again", witness=witness.name)
            else:
                await note_failed(connection, witness.id, witness.name, now)
                if not failed:
                    log.warning("a witness does not keep heads", witness=witness.name, reason=why)

    def _outcome(self, witness: str) -> tuple[TreeHead, str | None]:
        """The head that was sent to a witness, and why it was not stored; None if it was."""
        sent, task = self._under_way[witness]
        if not task.done():
            return sent, NO_ANSWER
        del self._under_way[witness]
        return sent, task.result()


async def _keep(witness: Witness, head: TreeHead) -> str | None:
    """Send a head to a witness; return why it was not stored, or None."""
    try:
        await witness.keep(head)
    except NotKept as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - any exception is the failure of one witness
        return f"{type(error).__name__}: {error}"
    return None


def _is_due(witness: Witness, before: Witnessed | None, head: TreeHead, now: datetime) -> bool:
    """Whether a head is to be sent to a witness: the last one failed, or a new head is there after the interval."""
    if before is None or before.kept_at is None or before.failing_since is not None:
        return True
    if before.origin == head.origin and before.size == head.size:
        return False
    return now - before.kept_at >= witness.every
