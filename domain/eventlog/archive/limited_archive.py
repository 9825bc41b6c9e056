"""Reads from an archive, limited in number and in time, with a circuit breaker.

A reader of events holds a connection to the database while it waits for the archive. If many readers waited for an archive
that does not answer, no connection would be left for reads that need only the database.
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
"""The number of reads of one archive at the same time."""
TURN = 1.0
"""Seconds that a read waits for one of these slots."""
RETRY_AFTER = 5.0
"""Seconds after a failure before the archive is tried again."""
SOON: dict[str, Any] = {
    "client_options": {**CLIENT, "connect_timeout": "1s", "read_timeout": "2s", "timeout": "3s"},
    "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=1)},
}
"""Options of reads from a bucket: their timeouts are shorter than the time for which a connection to the database is lent."""
LONGEST = 4.5
"""Seconds that a reader waits: less than the time for which its connection is lent. A thread that reads from a folder whose
file server hangs cannot be ended, and is left waiting.
"""
BUSY, SILENT = "others have been waiting for it", f"it has not answered within {LONGEST:g} s"
THREADS = ThreadPoolExecutor(2 * AT_ONCE, "archive")
"""Threads for archives alone, as all of them may wait for an archive."""

T = TypeVar("T")
log = structlog.get_logger()


async def run_in_archive_thread(work: Callable[..., T], *values: Any) -> T:
    """Run a function that reads from an archive in a thread; return its result.

    Raises:
        ArchiveAway: it takes longer than `LONGEST`.
    """
    try:
        async with asyncio.timeout(LONGEST):
            return await asyncio.get_running_loop().run_in_executor(THREADS, work, *values)
    except TimeoutError:
        raise ArchiveAway(reason=SILENT) from None


class LimitedArchive:
    """An archive that is read by a limited number of readers, and not while it is unavailable."""

    def __init__(self, location: str) -> None:
        self.files = ArchiveFiles(location, SOON)
        self._slots = BoundedSemaphore(AT_ONCE)
        self._lock = Lock()
        self._away: ArchiveAway | None = None
        self._retry_at = 0.0

    @contextmanager
    def read_slot(self) -> Iterator[ArchiveFiles]:
        """Lend the files for one read. While the archive is unavailable, one read every `REST` seconds tries it.

        Raises:
            ArchiveAway: the archive is unavailable, or all slots are taken.
        """
        self._require_available()
        if not self._slots.acquire(timeout=TURN):
            raise ArchiveAway(reason=BUSY)
        try:
            yield self.files
        except ArchiveAway as error:
            self._note(error)
            raise
        except Damaged:  # the archive has answered
            self._note(None)
            raise
        else:
            self._note(None)
        finally:
            self._slots.release()

    def _require_available(self) -> None:
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
            log.warning("the archive is unavailable", reason=away.reason)
        elif before and not away:
            log.info("the archive is available again")
