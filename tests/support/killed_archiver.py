"""An archiver of events, as a process that is killed before or after a step."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

from domain.eventlog.archive.files import ArchiveFiles
from domain.writer.guarded_writer import GuardedWriter
from tests.support.event_writer import opened
from tests.support.past_events import EVENTS
from workers.archiver import LineRetention
from workers.event_archive import archiver, range_file
from workers.event_archive.archiver import EventArchiver

STEPS: dict[str, tuple[Any, str]] = {
    "put": (ArchiveFiles, "put"),
    "read back": (range_file, "_has"),
    "record": (GuardedWriter, "send"),
    "take out": (archiver, "take_out"),
    "lock": (archiver, "is_placed_since"),
}
"""In this order; at the last one nothing is committed yet."""


def kill_at(step: str, when: str) -> None:
    """Let this process be killed at the step."""
    where, name = STEPS[step]
    do = getattr(where, name)

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @wraps(do)
    def killed(*values: Any) -> Any:
        if when == "before":
            end()
        found = do(*values)
        if not asyncio.iscoroutine(found):
            end()

        async def awaited() -> None:
            await found
            end()

        return awaited()

    setattr(where, name, killed)


async def archive(conninfo: str, folder: Path) -> None:
    """Archive everything recorded until now."""
    retention = LineRetention((folder / "archive").as_uri(), 30, folder, event_days=365)
    async with opened(conninfo) as store:
        writer = GuardedWriter(store, lambda: datetime.now(UTC), str, random.random)
        later = datetime.now(UTC) + timedelta(days=36_500)
        of_log = writer, store, conninfo, retention
        await EventArchiver(*of_log, clock=lambda: later, events=EVENTS).archive()


def run(conninfo: str, folder: Path, step: str, when: str) -> None:
    """Archive, and be killed `before` or `after` a step, or `never`."""
    if when != "never":
        kill_at(step, when)
    asyncio.run(archive(conninfo, folder))
