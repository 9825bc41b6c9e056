"""Files of events in a folder that hangs, as one does whose file server is gone."""

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
    """A log whose events are in files of a folder, but for those of an execution that goes on."""
    async with PastEvents.opened(database_with_views, tmp_path) as opened:
        await opened.run("e-0")
        await opened.run("e-1")
        await opened.grow()
        opened.now += LATER
        await opened.archive_events()
        await opened.pause("e-2")
        yield opened


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Reads of files go on once this is set."""
    back, whole = Event(), ArchiveFiles.read_parts

    def read(files: ArchiveFiles, file: str, parts: Any) -> list[bytes]:
        back.wait()
        return whole(files, file, parts)

    monkeypatch.setattr(ArchiveFiles, "read_parts", read)
    monkeypatch.setattr(limited_archive, "LONGEST", 1.5)
    reader.BLOCK_CACHE.__init__()  # type: ignore[misc]  # what it holds is of the process
    yield back
    back.set()


async def test_folder_that_hangs_is_a_refusal_of_what_is_in_it_alone(
    past: PastEvents, hanging: Event
) -> None:
    reads = [past.store.history(f"execution/e-{number % 2}") for number in range(12)]
    away = asyncio.gather(*reads, return_exceptions=True)
    assert await past.store.history("execution/e-2")
    async with asyncio.timeout(30):
        assert {type(found) for found in await away} == {ArchiveAway}
    assert past.store.outages.current is None
    hanging.set()
    assert len(await past.store.history("execution/e-0")) == EVENTS
