"""A projection reads rows from the database only if its cache does not have them."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection

from domain.execution.events.lifecycle import ExecutionStarting
from domain.model import Recorded
from projections.engine.row_cache import RowCache
from tests.support.event_writer import NOON

ASKED = "SELECT id FROM unnest(%b::text[]) AS asked (id) WHERE id <> 'absent'"


def event(execution: str, version: int) -> Recorded:
    return Recorded(f"execution/{execution}", version, 1, NOON, ExecutionStarting(), "x")


def read(rows: Sequence[tuple[str]]) -> dict[str, str]:
    return {id_: f"read {id_}" for (id_,) in rows}


async def test_rows_are_read_if_not_cached_and_not_created_by_the_page(database: str) -> None:
    async with await AsyncConnection.connect(database) as connection:
        cache = RowCache(2, ASKED, read)
        page = [event("new", 1), event("new", 2), event("old", 7), event("absent", 3)]
        assert await cache.load(connection, page) == {"old": "read old"}
        cache.put({"old": "kept old", "new": "kept new"})
        page = [event("old", 8), event("new", 3), event("other", 2)]
        assert await cache.load(connection, page) == {
            "old": "kept old",
            "new": "kept new",
            "other": "read other",
        }


async def test_deleted_or_least_recently_used_row_is_not_cached(database: str) -> None:
    async with await AsyncConnection.connect(database) as connection:
        cache = RowCache(2, ASKED, read)
        cache.put({"gone": "x", "kept": "kept"})
        cache.put({"gone": None, "next": "kept"})
        cache.put({"last": "kept"})
        page = [event(name, 2) for name in ("gone", "kept", "next", "last")]
        found = await cache.load(connection, page)
        assert [found[name] for name in ("gone", "kept", "next", "last")] == [
            "read gone",
            "read kept",
            "kept",
            "kept",
        ]
        cache.clear()
        assert set((await cache.load(connection, page)).values()) == {
            f"read {name}" for name in ("gone", "kept", "next", "last")
        }
