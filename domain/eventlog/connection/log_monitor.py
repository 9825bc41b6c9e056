"""Polls the head of the log once a second, for all parts of a process that has no tail: for new events, and for a new log
id.
"""

from __future__ import annotations

from collections.abc import Callable

from domain.errors import Overloaded
from domain.eventlog.connection.log_head import read_head_unchecked
from domain.eventlog.connection.notifications import Listener, Wake
from domain.eventlog.store import Store
from domain.supervisor import Background, Tasks

POLL = 1.0
"""Seconds between two polls."""


class LogMonitor(Background):
    """Wakes the listeners for events where the head has moved since the last poll, and calls `on_other_log` once the log has
    another id than at the first poll. It polls every so many seconds, and at once when `wake` is set.
    """

    outages = (Overloaded,)

    def __init__(
        self,
        store: Store,
        on_other_log: Callable[[], object],
        listener: Listener,
        every: float = POLL,
    ) -> None:
        self.wake = Wake()
        self._every = every
        self._store = store
        self._on_other_log = on_other_log
        self._listener = listener
        self._position: int | None = None
        self._log_id = ""

    def tasks(self) -> Tasks:
        return {"log monitor": self._run}

    async def _run(self) -> bool:
        while True:
            async with self._store.reader() as connection:
                head = await read_head_unchecked(connection)
            self._log_id = self._log_id or head.log_id
            if head.log_id != self._log_id:
                self._on_other_log()
                return True
            if not self._listener.is_listening:
                self._listener.wake_all()
            elif head.position != self._position:
                self._listener.wake(self._store.schema)
            self._position = head.position
            await self.wake.wait(self._every)
