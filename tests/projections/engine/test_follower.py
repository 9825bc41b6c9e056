"""A follower commits rows and bookmark together, and parks events that it cannot apply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import psycopg
import pytest
from psycopg import AsyncConnection

from domain.errors import Overloaded
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.progress import ProgressUpdated
from projections.engine import pages
from projections.engine.follower import BookmarkState, Follower
from projections.engine.migrations import migrate_projections
from projections.engine.pages import LogPages
from tests.support.event_writer import Happening, Log, created, opened, some
from tests.support.sample_view import Seen, SeenCreations


class Stage:
    """A log, a view and its follower."""

    def __init__(self, store: Store, connection: AsyncConnection, view: Seen) -> None:
        self.store = store
        self.log = Log(store)
        self.view = view
        self.connection = connection
        self.follower = Follower(view, LogPages(store, view.types))

    async def catch_up(self, page: int = 1_000) -> BookmarkState | None:
        return await self.follower.catch_up(self.connection, page)

    async def rows(self, query: str) -> list[tuple[object, ...]]:
        return await (await self.connection.execute(query.encode())).fetchall()

    async def seen(self) -> list[object]:
        return [row[0] for row in await self.rows("SELECT position FROM seen ORDER BY 1")]

    async def bookmark(self) -> tuple[object, ...]:
        return (await self.rows("SELECT position, generation FROM bookmarks"))[0]


@asynccontextmanager
async def stage(conninfo: str, view: Seen | None = None) -> AsyncIterator[Stage]:
    view = view or Seen()
    migrate_projections(conninfo, "executions", [view])
    options = session_options("executions")
    async with (
        opened(conninfo) as store,
        await AsyncConnection.connect(conninfo, autocommit=True, options=options) as connection,
    ):
        yield Stage(store, connection, view)


async def test_pages_are_applied_to_the_end_of_the_log(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(5))
        steps = [(await on.catch_up(2), on.follower.behind) for _ in range(4)]
        assert steps == [
            (BookmarkState(2, 1), True),
            (BookmarkState(4, 1), True),
            (BookmarkState(5, 1), False),
            (None, False),
        ]
        assert await on.seen() == [1, 2, 3, 4, 5]
        assert await on.bookmark() == (5, 1)


async def test_event_that_fails_to_apply_is_parked_alone(
    database: str,
) -> None:
    async with stage(database) as on:
        await on.log.write(some(5))
        on.view.stumbles[3] = ZeroDivisionError("by three")
        assert await on.catch_up() == BookmarkState(5, 1)
        assert await on.seen() == [1, 2, 4, 5]
        assert on.follower.parked == 1
        assert await on.rows("SELECT view, position, stream, type, error FROM parked") == [
            ("seen", 3, "execution/e-2", "execution.created", "ZeroDivisionError: by three")
        ]
        assert on.view.forgotten > 1


async def test_event_that_does_not_decode_is_parked(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(database) as on:
        await on.log.write([created("e"), Happening("e", ProgressUpdated(progress=5))])
        monkeypatch.delitem(on.store.codec._events, ProgressUpdated.type)
        assert await on.catch_up() == BookmarkState(2, 1)
        assert await on.seen() == [1]
        assert await on.rows("SELECT position, type FROM parked") == [(2, "execution.progress")]


async def test_event_beyond_a_limit_of_postgres_is_parked_alone(database: str) -> None:
    """Psycopg counts such errors as operational, as those of an outage, but the same statement always fails."""
    async with stage(database) as on:
        await on.log.write(some(3))
        on.view.stumbles[2] = psycopg.errors.ProgramLimitExceeded("index row is too long")
        assert await on.catch_up() == BookmarkState(3, 1)
        assert await on.seen() == [1, 3]
        assert on.follower.parked == 1


async def test_nothing_is_parked_while_the_archive_is_away_although_another_event_fails(
    database: str,
) -> None:
    async with stage(database) as on:
        await on.log.write(some(3))
        on.view.stumbles |= {1: ZeroDivisionError("by one"), 2: Overloaded("the archive is busy")}
        with pytest.raises(Overloaded):
            await on.catch_up()
        assert await on.rows("SELECT position FROM parked") == []


async def test_database_loss_parks_nothing_and_rolls_the_page_back(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(3))
        on.view.stumbles[2] = psycopg.OperationalError("gone")
        with pytest.raises(psycopg.OperationalError):
            await on.catch_up()
        assert await on.seen() == []
        assert await on.bookmark() == (0, 1)
        on.view.stumbles.clear()
        forgotten = on.view.forgotten
        assert await on.catch_up() == BookmarkState(3, 1)
        assert on.view.forgotten > forgotten
        assert await on.seen() == [1, 2, 3]


async def test_new_generation_or_a_moved_bookmark_is_noticed(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(2))
        await on.catch_up()
        forgotten = on.view.forgotten
        await on.log.write([created("a")])
        await on.catch_up()
        assert on.view.forgotten == forgotten
        await on.connection.execute("UPDATE bookmarks SET generation = 2")
        await on.log.write([created("b")])
        assert await on.catch_up() == BookmarkState(4, 2)
        assert on.view.forgotten == forgotten + 1


async def test_view_gets_only_its_event_types_and_its_bookmark_passes_the_others(
    database: str,
) -> None:
    async with stage(database, SeenCreations()) as on:
        await on.log.write([created("e"), *[Happening("e", ProgressUpdated(progress=5))] * 4])
        assert await on.catch_up(3) == BookmarkState(3, 1)
        assert await on.catch_up(3) == BookmarkState(5, 1)
        assert await on.seen() == [1]
        assert on.view.pages == [1]


async def test_two_followers_of_one_view_apply_each_event_once(database: str) -> None:
    async with stage(database) as on, stage(database) as other:
        await on.log.write(some(10))
        while any(await asyncio.gather(on.catch_up(3), other.catch_up(2))):
            pass
        assert await on.seen() == list(range(1, 11))
        assert on.view.pages
        assert other.view.pages


async def test_follower_that_waited_for_a_rebuild_never_moves_back(database: str) -> None:
    async with stage(database) as on, stage(database) as other:
        await on.log.write(some(2))
        await on.catch_up()
        async with on.connection.transaction():
            # As at the end of a rebuild: the follower waits for the row, having read an older head.
            await on.connection.execute("SELECT FROM bookmarks FOR UPDATE")
            waiting = asyncio.create_task(other.catch_up())
            await asyncio.sleep(0.2)
            await on.log.write([created(name) for name in "abc"])
            await on.connection.execute("UPDATE bookmarks SET position = 5, generation = 2")
        assert await waiting is None
        assert await on.bookmark() == (5, 2)


async def test_view_without_a_bookmark_is_reported(database: str) -> None:
    async with stage(database) as on:
        await on.connection.execute("DELETE FROM bookmarks")
        with pytest.raises(LookupError, match="seen"):
            await on.catch_up()


async def test_migrating_again_changes_nothing(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(2))
        await on.catch_up()
        migrate_projections(database, "executions", [on.view])
        assert await on.bookmark() == (2, 1)
        assert await on.seen() == [1, 2]


async def test_rows_of_another_schema_are_rebuilt(database: str) -> None:
    class Grown(Seen):
        schema: ClassVar[str] = f"-- grown\n{Seen.schema}"

    async with stage(database) as on:
        await on.log.write(some(2))
        await on.catch_up()
        await on.connection.execute("UPDATE seen SET position = position + 100")
        migrate_projections(database, "executions", [Grown()])
        assert await on.bookmark() == (0, 2)
        assert await on.seen() == []
        await on.catch_up()
        assert await on.seen() == [1, 2]


async def test_empty_tables_get_the_new_schema(database: str) -> None:
    class Grown(Seen):
        schema: ClassVar[str] = Seen.schema.replace("PRIMARY KEY", "PRIMARY KEY, more int")

    async with stage(database) as on:
        migrate_projections(database, "executions", [Grown()])
        assert await on.rows("SELECT more FROM seen") == []


async def test_pages_grow_while_the_view_is_behind(database: str) -> None:
    async with stage(database) as on:
        follower = Follower(on.view, LogPages(on.store, on.view.types))
        follower._page = 2
        await on.log.write(some(20))
        assert await positions(follower, on.connection) == [2, 6, 14, 20]


async def test_page_has_no_more_bytes_than_the_limit_and_at_least_one_event(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 20_000)
    monkeypatch.setattr(pages, "ALWAYS_READ", 1)
    async with stage(database) as on:
        await on.log.write(some(20))
        for size in (5_000, 5_000, 5_000, 5_000, 100, 30_000, 30_000, 5_000):
            received = {"text": "x" * size}
            await on.log.write([Happening("e-0", ExecutionUpdated(metadata=received))])
        follower = Follower(on.view, LogPages(on.store, on.view.types))
        assert await positions(follower, on.connection) == [23, 25, 26, 27, 28]
        assert len(await on.seen()) == 28


async def positions(follower: Follower, connection: AsyncConnection) -> list[int]:
    """The position at which each page ended."""
    ends = []
    while (progress := await follower.catch_up(connection)) is not None:
        ends.append(progress.position)
    return ends
