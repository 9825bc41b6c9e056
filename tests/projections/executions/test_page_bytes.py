"""A page of a list ends at its byte limit, and the next page continues there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import orjson
import pytest

from domain.execution.events.creation import ExecutionUpdated
from projections.executions import page_query
from projections.executions.page_query import MOST_BYTES
from projections.executions.past import PastLists
from projections.executions.projection import ExecutionPage
from projections.query.ast import EVERYTHING
from tests.projections.executions.test_references import Follows, following, worked
from tests.support.event_writer import NOON, SECOND, Happening, completed

LARGE = "x" * (MOST_BYTES // 16)
"""An execution contains it four times, encrypted and in base64: a page has room for two such executions."""
LATER = NOON + 10_000 * SECOND


@asynccontextmanager
async def five(conninfo: str, content: str) -> AsyncIterator[Follows]:
    async with following(conninfo) as on:
        for number in range(5):
            await on.write(*worked(f"e-{number}", content))
            if number % 2:
                await on.write(completed(f"e-{number}"))
        yield on


async def sizes(on: Follows, **options: object) -> list[int]:
    found, cursor = [], None
    while True:
        page = await on.view.find(on.connection, NOON, limit=5, cursor=cursor, **options)  # type: ignore[arg-type]  # options of one kind
        found.append(len(page.data))
        if (cursor := page.next_cursor) is None:
            return found


def status_alone(document: bytes) -> bytes:
    return orjson.dumps({"status": orjson.loads(document)["status"]})


async def test_page_ends_before_its_content_exceeds_the_byte_limit(views: str) -> None:
    async with five(views, LARGE) as on:
        assert await sizes(on) == [2, 2, 1]
        assert await sizes(on, choose=status_alone) == [5]


async def test_page_reads_no_more_documents_than_fit(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with five(views, "short") as on:
        await on.write(*(completed(f"e-{number}") for number in range(0, 5, 2)))
        less = page_query.PAGE.replace(str(MOST_BYTES), "300")
        monkeypatch.setattr(page_query, "PAGE", less)
        found = await sizes(on, choose=status_alone)
        assert sum(found) == 5
        assert max(found) < 5


async def test_page_of_the_past_ends_at_its_byte_limit(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with five(views, "short") as on:
        await on.write(*(completed(f"e-{number}") for number in range(0, 5, 2)))
        lists = PastLists(on.log.store)
        moment = await lists.moment(LATER)
        await on.write(Happening("e-3", ExecutionUpdated(tags=("touched",))))

        async def page(cursor: str | None = None, at: datetime = LATER) -> ExecutionPage:
            return await lists.find(
                on.connection, at, moment, EVERYTHING, limit=5, cursor=cursor, count=True
            )

        whole = await page()
        assert (len(whole.data), whole.next_cursor) == (5, None)
        for bytes_of_sql in (str(MOST_BYTES), "3000"):
            monkeypatch.setattr(
                page_query, "PAGE", page_query.PAGE.replace(str(MOST_BYTES), bytes_of_sql)
            )
            monkeypatch.setattr(page_query, "MOST_BYTES", 3_000)
            found, cursor, pages = [], None, 0
            while pages == 0 or cursor is not None:
                part = await page(cursor)
                found += part.data
                cursor, pages = part.next_cursor, pages + 1
            assert found == whole.data
            assert 1 < pages <= 5
