"""Reads from an archive, limited in number and in time, with a circuit breaker.

A reader of events holds a connection to the database meanwhile. If many waited for an archive that does not answer, or one
again and again, no connection would be left for what is in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import BoundedSemaphore, Lock
from time import monotonic
from typing import Any, TypeVar

import structlog

from domain.errors import ArchiveAway, Damaged
from domain.eventlog.archive.files import CLIENT, ArchiveFiles

AT_ONCE = 4
"""Reads of one archive."""
TURN = 1.0
"""Seconds that a read waits for one of these."""
RETRY_AFTER = 5.0
"""Seconds in which an archive that was away is not asked again."""
SOON: dict[str, Any] = {
    "client_options": {**CLIENT, "connect_timeout": "1s", "read_timeout": "2s", "timeout": "3s"},
    "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=1)},
}
"""How a bucket is asked for events: what takes longer than a connection to the database is lent for is an outage of that."""
LONGEST = 4.5
"""Seconds that a reader waits: less than it has its connection for. A read of a folder that hangs, as its file server is
gone, cannot be ended: its thread goes on waiting.
"""
BUSY, SILENT = "others have been waiting for it", f"it has not answered within {LONGEST:g} s"
THREADS = ThreadPoolExecutor(2 * AT_ONCE, "archive")
"""Apart from those that others need: all of these may wait for an archive."""

T = TypeVar("T")
log = structlog.get_logger()


async def run_in_archive_thread(work: Callable[..., T], *values: Any) -> T:
    """The result of work that reads from an archive, in a thread.

    Raises:
        ArchiveAway: it takes too long.
    """
    try:
        async with asyncio.timeout(LONGEST):
            return await asyncio.get_running_loop().run_in_executor(THREADS, work, *values)
    except TimeoutError:
        raise ArchiveAway(reason=SILENT) from None


class LimitedArchive:
    """An archive from which events are read."""

    def __init__(self, location: str) -> None:
        self.files = ArchiveFiles(location, SOON)
        self._turns = BoundedSemaphore(AT_ONCE)
        self._lock = Lock()
        self._away: ArchiveAway | None = None
        self._retry_at = 0.0

    @contextmanager
    def read_slot(self) -> Iterator[ArchiveFiles]:
        """The files, for one read. Where a bucket was away, one alone finds out every few seconds whether it still is.

        Raises:
            ArchiveAway: it is, or others have been waiting for it.
        """
        self._require_there()
        if not self._turns.acquire(timeout=TURN):
            raise ArchiveAway(reason=BUSY)
        try:
            yield self.files
        except ArchiveAway as error:
            self._note(error)
            raise
        except Damaged:  # it has answered
            self._note(None)
            raise
        else:
            self._note(None)
        finally:
            self._turns.release()

    def _require_there(self) -> None:
        with self._lock:
            if self._away is None:
                return
            if (now := monotonic()) < self._retry_at:
                raise ArchiveAway(reason=self._away.reason)
            self._retry_at = now + RETRY_AFTER

    def _note(self, away: ArchiveAway | None) -> None:
        with self._lock:
            before, self._away = self._away, away
            self._retry_at = monotonic() + RETRY_AFTER
        if away and not before:
            log.warning("the archive is away", reason=away.reason)
        elif before and not away:
            log.info("the archive is back")
