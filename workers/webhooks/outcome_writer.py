"""Writes the outcomes of calls, which `DeliveryWorker` in `deliveries.py` has decided: those that end together are written
together.
"""

from __future__ import annotations

import asyncio

from projections.deliveries.queue import DeliveryQueue, Settled, Standing


class OutcomeWriter:
    """Writes outcomes in the order in which they come, many at once while a write is under way."""

    def __init__(self, queue: DeliveryQueue) -> None:
        self._queue = queue
        self._waiting: list[tuple[Settled, asyncio.Future[Standing | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, settled: Settled) -> Standing | None:
        """Write an outcome; how the webhook stands after it, once that is committed. None where it is not kept, as the event
        is sent again (`DeliveryQueue.settle`).
        """
        kept: asyncio.Future[Standing | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((settled, kept))
        if self._task is None:
            self._task = asyncio.create_task(self._write_all(), name="webhook outcomes")
        return await kept

    async def _write_all(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            try:
                standing = await self._queue.settle([settled for settled, _ in taken])
            except Exception as error:  # noqa: BLE001 - each caller gets it
                for _, kept in taken:
                    if not kept.done():
                        kept.set_exception(error)
                continue
            for (_, kept), after in zip(taken, standing, strict=True):
                if not kept.done():
                    kept.set_result(after)
        self._task = None  # here and not later: who comes next starts another
