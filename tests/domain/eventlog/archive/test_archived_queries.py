"""Events of the archive are read by reads of limited size, as each has little time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from psycopg import AsyncConnection

from domain.eventlog.archive import archived_queries
from domain.eventlog.archive.archived_queries import events_at

pytestmark = pytest.mark.anyio


async def test_many_events_are_read_by_several_reads(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    async def note(_: object, __: object, positions: Sequence[int]) -> list[Any]:
        asked.append(list(positions))
        return []

    monkeypatch.setattr(archived_queries, "run_in_archive_thread", note)
    options = "-c search_path=executions"
    async with await AsyncConnection.connect(database, options=options) as connection:
        assert await events_at(connection, range(1, 6), 2) == []
    assert asked == [[1, 2], [3, 4], [5]]
