"""Whether the log is another one than it was: for processes that have no streams, whose tail would notice it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from domain.errors import Overloaded
from domain.eventlog.connection.continuity import now
from domain.eventlog.store import Store
from domain.supervisor import cancel, supervise

POLL = 1.0
"""Seconds between two looks."""


class LogWatch:
    """Calls `on_other_log` once the log has another id than at the first look."""

    def __init__(self, store: Store, on_other_log: Callable[[], object]) -> None:
        self._store = store
        self._on_other_log = on_other_log
        self._of_log = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; needs a running event loop."""
        run = supervise("log watch", self._run, outages=(Overloaded,))
        self._task = asyncio.create_task(run, name="log watch")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            await cancel(self._task)

    async def _run(self) -> bool:
        while True:
            async with self._store.reader() as connection:
                log_id = (await now(connection)).log_id
            self._of_log = self._of_log or log_id
            if log_id != self._of_log:
                self._on_other_log()
                return True
            await asyncio.sleep(POLL)
