"""Views near the head of the log follow it together, and none delays another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import AsyncConnection

from domain.eventlog import recent_events
from domain.eventlog.codec import Codec, EventRow
from domain.eventlog.encryption import DataKey
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.model import Recorded
from projections.engine import live_follower
from projections.engine.live_follower import LiveFollower, LivePage
from projections.engine.migrations import migrate_projections
from tests.support.event_writer import Log, created, opened, some
from tests.support.sample_view import Seen, SeenToo

NONE_APART: frozenset[str] = frozenset()


class Stage:
    """A log, and two views that follow it together."""

    def __init__(self, conninfo: str, store: Store, connection: AsyncConnection) -> None:
        self.conninfo = conninfo
        self.store = store
        self.log = Log(store)
        self.connection = connection
        self.seen, self.too = Seen(), SeenToo()
        self.live = LiveFollower(store, "progress")

    async def catch_up(self) -> LivePage:
        return await self.live.catch_up(self.connection, [self.seen, self.too])

    async def rows(self, query: str) -> list[tuple[object, ...]]:
        return await (await self.connection.execute(query.encode())).fetchall()

    async def positions(self, table: str) -> list[object]:
        return [row[0] for row in await self.rows(f"TABLE {table} ORDER BY 1")]

    async def bookmarks(self) -> list[object]:
        return [row[0] for row in await self.rows("SELECT position FROM bookmarks ORDER BY view")]


@asynccontextmanager
async def stage(conninfo: str) -> AsyncIterator[Stage]:
    migrate_projections(conninfo, "executions", [Seen(), SeenToo()])
    options = session_options("executions")
    async with (
        opened(conninfo) as store,
        await AsyncConnection.connect(conninfo, autocommit=True, options=options) as connection,
    ):
        yield Stage(conninfo, store, connection)


async def test_page_moves_all_views_in_one_transaction(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(5))
        assert await on.catch_up() == LivePage(5, behind=False, apart=NONE_APART)
        assert await on.positions("seen") == await on.positions("seen_too") == [1, 2, 3, 4, 5]
        assert await on.bookmarks() == [5, 5]
        assert len(set(await on.rows("SELECT xmin::text FROM bookmarks"))) == 1


async def test_event_is_decoded_once_for_all_views(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = Codec.decode

    def count_call(codec: Codec, row: EventRow, key: DataKey | None = None) -> Recorded:
        decoded.append(row.position)
        return decode(codec, row, key)

    async with stage(database) as on:
        await on.log.write(some(3))
        monkeypatch.setattr(Codec, "decode", count_call)
        await on.catch_up()
        assert decoded == [1, 2, 3]


async def test_view_that_is_slightly_behind_gets_what_it_lacks(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(2))
        await on.catch_up()
        await on.log.write([created("a")])
        await on.live.catch_up(on.connection, [on.seen])
        assert await on.bookmarks() == [3, 2]
        await on.log.write([created("b")])
        assert await on.catch_up() == LivePage(2, behind=False, apart=NONE_APART)
        assert await on.positions("seen") == await on.positions("seen_too") == [1, 2, 3, 4]


async def test_page_without_new_events_moves_nothing(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(2))
        await on.catch_up()
        seen = on.seen.pages.copy()
        assert await on.catch_up() == LivePage(0, behind=False, apart=NONE_APART)
        assert on.seen.pages == seen


async def test_view_that_fails_is_separated_and_the_others_continue(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(3))
        on.too.stumbles[2] = ZeroDivisionError("by two")
        assert await on.catch_up() == LivePage(0, behind=True, apart=frozenset({"seen_too"}))
        assert await on.positions("seen") == []
        assert await on.bookmarks() == [0, 0]
        assert await on.rows("SELECT view FROM parked") == []
        forgotten = on.seen.forgotten
        await on.live.catch_up(on.connection, [on.seen])
        assert on.seen.forgotten > forgotten
        assert await on.positions("seen") == [1, 2, 3]


async def test_failure_of_the_database_separates_no_view(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(3))
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (on.connection.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            await on.catch_up()


async def test_view_whose_table_is_locked_is_separated(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(3))
        await on.connection.execute("SET lock_timeout = '100ms'")
        with psycopg.connect(database, options=session_options("executions")) as other:
            other.execute("LOCK TABLE seen_too")
            assert (await on.catch_up()).apart == {"seen_too"}
            await on.live.catch_up(on.connection, [on.seen])
        assert await on.bookmarks() == [3, 0]


async def test_view_whose_bookmark_a_rebuild_holds_is_separated(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(3))
        with psycopg.connect(database, options=session_options("executions")) as rebuild:
            rebuild.execute("SELECT FROM bookmarks WHERE view = 'seen_too' FOR UPDATE")
            assert await on.catch_up() == LivePage(3, behind=False, apart=frozenset({"seen_too"}))
        assert await on.bookmarks() == [3, 0]


async def test_slow_view_is_separated_after_its_page(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_follower, "SLOW", -1)
    async with stage(database) as on:
        await on.log.write(some(3))
        assert (await on.catch_up()).apart == {"seen", "seen_too"}
        assert await on.bookmarks() == [3, 3]


async def test_view_far_behind_the_others_is_separated(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_events, "MOST_EVENTS", 3)
    async with stage(database) as on:
        for number in range(5):
            await on.log.write([created(f"e-{number}")])
            await on.live.catch_up(on.connection, [on.seen])
        assert await on.catch_up() == LivePage(0, behind=False, apart=frozenset({"seen_too"}))
        assert not on.live.covers(0)
        assert on.live.covers(2)


async def test_view_that_falls_behind_by_a_page_misses_no_event(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_events, "MOST_EVENTS", 3)
    async with stage(database) as on:
        await on.log.write(some(3))
        await on.live.catch_up(on.connection, [on.seen])
        assert on.live.covers(0)
        await on.log.write([created("a"), created("b")])
        assert await on.catch_up() == LivePage(2, behind=False, apart=frozenset({"seen_too"}))
        assert await on.bookmarks() == [5, 0]
        assert await on.positions("seen_too") == []


async def test_follower_of_a_long_log_begins_at_the_most_advanced_view(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(5))
        await on.connection.execute("UPDATE bookmarks SET position = 4 WHERE view = 'seen'")
        assert (await on.catch_up()).apart == {"seen_too"}
        assert await on.positions("seen") == [5]


async def test_view_that_is_ahead_of_the_log_delays_no_other(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(5))
        await on.connection.execute("UPDATE bookmarks SET position = 9_000 WHERE view = 'seen_too'")
        await on.connection.execute("UPDATE bookmarks SET position = 5 WHERE view = 'seen'")
        await on.catch_up()
        await on.log.write([created("later")])
        assert await on.catch_up() == LivePage(1, behind=False, apart=NONE_APART)
        assert await on.bookmarks() == [6, 9_000]


async def test_pages_grow_while_the_log_is_ahead(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(12))
        live = LiveFollower(on.store, "progress", page=2)
        while (await live.catch_up(on.connection, [on.seen])).behind:
            pass
        assert on.seen.pages == [2, 4, 6]


async def test_moved_bookmark_is_noticed(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(2))
        await on.catch_up()
        forgotten = on.seen.forgotten, on.too.forgotten
        await on.connection.execute("UPDATE bookmarks SET generation = 2 WHERE view = 'seen'")
        await on.log.write([created("a")])
        await on.catch_up()
        assert (on.seen.forgotten, on.too.forgotten) == (forgotten[0] + 1, forgotten[1])


async def test_every_view_that_moves_sends_a_notification(database: str) -> None:
    async with stage(database) as on:
        await on.log.write(some(2))
        with psycopg.connect(database, autocommit=True) as listening:
            listening.execute("LISTEN progress")
            await on.catch_up()
            heard = [note.payload for note in listening.notifies(timeout=10, stop_after=2)]
        assert sorted(heard) == ["seen 2", "seen_too 2"]
