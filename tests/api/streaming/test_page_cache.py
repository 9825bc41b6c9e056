"""The cache of pages of the log: an unreadable page does not delay others, and a dropped page is read again."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from api.streaming.log.entry import Entry
from api.streaming.log.page_cache import READS_AT_ONCE, SIZE, PageCache, slot
from domain.eventlog.codec import EventRow
from tests.support.event_writer import NOON
from tests.support.hub import until

pytestmark = pytest.mark.anyio


class Log:
    """A log with some unreadable pages; it records which pages are read."""

    def __init__(self, *bad: int) -> None:
        self.asked: list[int] = []
        self.bad = set(bad)
        self.pages = PageCache(self.load)
        self.pages.begin(10 * SIZE)

    async def load(self, after: int, until: int) -> list[Entry]:
        self.asked.append(slot(after + 1))
        if slot(after + 1) in self.bad:
            raise ValueError("a page that cannot be read")
        return [
            Entry(EventRow(place, 1, NOON, f"user/{place}", "user.created", "{}", b"{}"), None)
            for place in range(after + 1, until + 1)
        ]

    async def find(self, page: int) -> None:
        """Request the page until it is there, as a subscriber does."""
        while self.pages.get(page * SIZE + 1) is None:
            await self.pages.request(page * SIZE + 1)


async def test_unreadable_pages_do_not_delay_other_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.streaming.log.page_cache.RETRY_PAUSE", 0.05)
    bad = range(READS_AT_ONCE + 1)
    log = Log(*bad)
    with structlog.testing.capture_logs():
        waiting = [asyncio.create_task(log.find(page)) for page in bad]
        await until(lambda: log.bad <= set(log.asked))
        async with asyncio.timeout(20):
            await log.find(READS_AT_ONCE + 1)
            log.bad.clear()
            await asyncio.gather(*waiting)


async def test_abandoned_page_is_not_requested_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.streaming.log.page_cache.RETRY_PAUSE", 0.01)
    log = Log(0)
    with structlog.testing.capture_logs():
        async with asyncio.timeout(20):
            await log.pages.request(1)
        await asyncio.sleep(0.1)
    assert log.asked == [0]


async def test_page_dropped_as_soon_as_it_was_read_is_read_again() -> None:
    log = Log()
    first = asyncio.create_task(log.find(0))
    for _ in range(20):
        await asyncio.sleep(0)
        if log.pages.get(1) is not None:
            break
    log.pages.forget()
    # A caller that requests it now must not loop without yielding to others.
    await log.pages.request(1)
    assert log.pages.get(1) is not None
    assert log.asked == [0, 0]
    await first
