"""Archive files in a folder that hangs, as when its file server is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from domain.errors import ArchiveAway
from domain.eventlog.archive import limited_archive, reader
from domain.eventlog.archive.files import ArchiveFiles
from tests.support.past_events import EVENTS, LATER, PastEvents

pytestmark = pytest.mark.anyio


@pytest.fixture
async def past(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastEvents]:
    """A log whose events are in files of a folder, except those of an execution that continues."""
    async with PastEvents.opened(database_with_views, tmp_path) as opened:
        await opened.run("e-0")
        await opened.run("e-1")
        await opened.grow()
        opened.now += LATER
        await opened.archive_events()
        await opened.pause("e-2")
        yield opened


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Reads of files wait until this is set."""
    back, whole = Event(), ArchiveFiles.read_parts

    def read(files: ArchiveFiles, file: str, parts: Any) -> list[bytes]:
        back.wait()
        return whole(files, file, parts)

    monkeypatch.setattr(ArchiveFiles, "read_parts", read)
    monkeypatch.setattr(limited_archive, "LONGEST", 1.5)
    reader.BLOCK_CACHE.__init__()  # type: ignore[misc]  # it caches for the process
    yield back
    back.set()


async def test_hanging_folder_refuses_only_reads_of_its_events(
    past: PastEvents, release: Event
) -> None:
    reads = [past.store.history(f"execution/e-{number % 2}") for number in range(12)]
    away = asyncio.gather(*reads, return_exceptions=True)
    assert await past.store.history("execution/e-2")
    async with asyncio.timeout(30):
        assert {type(found) for found in await away} == {ArchiveAway}
    assert past.store.outages.current is None
    release.set()
    assert len(await past.store.history("execution/e-0")) == EVENTS
