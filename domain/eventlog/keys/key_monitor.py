"""Watches whether the log still has the master key of this process."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from domain.errors import Overloaded
from domain.eventlog.connection.notifications import Wake
from domain.eventlog.encryption import WrongKey
from domain.eventlog.keys.current import require_current_key
from domain.eventlog.keys.rotation import RotationUnderWay
from domain.eventlog.store import Store
from domain.supervisor import Background, Tasks

POLL = 1.0
"""Seconds between two checks."""
CHANGED = "the master key of this log was changed, or is being changed, while this process runs"

log = structlog.get_logger()


class KeyMonitor(Background):
    """Calls `on_changed` once the master key of the log was changed, or is being changed, as this process would report data
    keys that are wrapped by the new one as damaged. It checks every so many seconds, and at once when `wake` is set.
    """

    outages = (Overloaded,)

    def __init__(
        self, store: Store, on_changed: Callable[[], object] = lambda: None, every: float = POLL
    ) -> None:
        self.wake = Wake()
        self._every = every
        self._store = store
        self.on_changed = on_changed
        self.changed = False

    def tasks(self) -> Tasks:
        return {"key monitor": self._run}

    async def _run(self) -> bool:
        while True:
            try:
                await require_current_key(self._store)
            except (RotationUnderWay, WrongKey):
                log.error(CHANGED)
                self.changed = True
                self.on_changed()
                return True
            await self.wake.wait(self._every)
