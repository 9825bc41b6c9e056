"""The runner follows the log at once and by itself, and only one process follows a view at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import LiteralString

import psycopg
import pytest
import structlog
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier
from structlog.testing import capture_logs
from structlog.typing import EventDict

from api.embedded_postgres.server import EmbeddedPostgres
from domain.eventlog.connection import notifications
from domain.eventlog.connection.notifications import Listener, Wake
from domain.eventlog.migrations import migrate_log
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.model import Recorded
from projections.engine import inactive_rows, position_tracker
from projections.engine.live_follower import LiveFollower, LivePage
from projections.engine.migrations import migrate_projections
from projections.engine.position_tracker import PositionTracker
from projections.engine.projection import Projection
from projections.engine.rebuild import rebuild
from projections.engine.runner import Runner
from projections.executions import projection
from projections.executions.projection import Executions
from tests.support.event_writer import NOON, Log, created, new_store, opened, some
from tests.support.hub import until

pytestmark = pytest.mark.anyio


class Process:
    """A runner, and a reader of its position."""

    def __init__(self, conninfo: str, store: Store) -> None:
        self.listener = Listener(conninfo, "executions")
        self.view = Executions(store.codec)
        self.positions = PositionTracker(store, self.listener, "executions")
        self.runner = Runner(
            [self.view], store, self.listener, conninfo=conninfo, schema="executions"
        )

    async def stop(self) -> None:
        await self.runner.stop()
        await self.positions.stop()
        await self.listener.stop()


@asynccontextmanager
async def process(conninfo: str, store: Store, *, listening: bool = True) -> AsyncIterator[Process]:
    made = Process(conninfo, store)
    if listening:
        made.listener.start()
    made.positions.start()
    made.runner.start()
    try:
        yield made
    finally:
        await made.stop()


async def names(store: Store, view: Executions) -> set[str]:
    async with store.reader() as connection:
        return {row.id for row in (await view.find(connection, NOON)).data}


async def test_written_event_is_visible_after_waiting_for_its_position(views: str) -> None:
    async with opened(views) as store, process(views, store) as one:
        position = await Log(store).write(some(3))
        assert await one.positions.wait("executions", position, 10)
        assert await names(store, one.view) == {"e-0", "e-1", "e-2"}
        assert one.positions.position("executions") == position
        assert await one.positions.progress() == [("executions", position, 0)]


async def test_view_reads_the_rows_of_a_page_without_parallel_workers(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL would start some for a few hundred rows, which takes longer than reading them."""
    shown: list[str] = []
    apply = Executions.apply

    async def show_and_apply(
        view: Executions, connection: AsyncConnection, page: Sequence[Recorded]
    ) -> None:
        cursor = await connection.execute("SHOW max_parallel_workers_per_gather")
        shown.extend(row[0] for row in await cursor.fetchall())
        await apply(view, connection, page)

    monkeypatch.setattr(Executions, "apply", show_and_apply)
    async with opened(views) as store, process(views, store) as one:
        position = await Log(store).write(some(3))
        assert await one.positions.wait("executions", position, 10)
    assert set(shown) == {"0"}


async def test_primary_that_became_a_standby_is_an_outage_and_not_a_failure(views: str) -> None:
    # A program that another test ran here may have left debug lines.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    async with opened(views) as store:
        position = await Log(store).write(some(3))
        async with await AsyncConnection.connect(views, autocommit=True) as owner:
            read_only = SQL("ALTER DATABASE {} {} default_transaction_read_only {}")
            name = Identifier(owner.info.dbname)
            await owner.execute(read_only.format(name, SQL("SET"), SQL("= on")))
            with capture_logs() as logged:
                async with process(views, store) as one:
                    await until(lambda: was_refused(logged))
                    await owner.execute("SET default_transaction_read_only = off")
                    await owner.execute(read_only.format(name, SQL("RESET"), SQL("")))
                    assert await one.positions.wait("executions", position, 10)
                    assert await one.positions.progress() == [("executions", position, 0)]
    assert not [line for line in logged if line["log_level"] == "error"]


def was_refused(logged: Sequence[EventDict]) -> bool:
    return any("read-only transaction" in str(line.get("error", line)) for line in logged)


async def test_wait_for_a_missing_position_times_out(views: str) -> None:
    async with opened(views) as store, process(views, store) as one:
        begun = monotonic()
        assert not await one.positions.wait("executions", 1, 0.4)
        assert 0.3 < monotonic() - begun < 5


async def test_execution_without_events_is_moved_to_rest_automatically(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inactive_rows, "EVERY", 0)
    monkeypatch.setattr(inactive_rows, "A_WHILE", 0.1)
    monkeypatch.setattr(projection, "MOST_ACTIVE", 0)

    def rest() -> bool:
        with psycopg.connect(views, options=session_options("executions")) as connection:
            cursor = connection.execute("SELECT count(*) FROM executions_resting")
            return cursor.fetchone() == (3,)

    async with opened(views) as store, process(views, store) as one:
        position = await Log(store).write(some(3))
        assert await one.positions.wait("executions", position, 10)
        await until(rest)
        assert await names(store, one.view) == {"e-0", "e-1", "e-2"}


async def test_notification_wakes_without_waiting_for_the_poll(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(position_tracker, "POLL", 60)
    monkeypatch.setattr(notifications, "LISTENING_POLL", 60)
    async with opened(views) as store, process(views, store) as one:
        log = Log(store)
        for number in range(5):
            position = await log.write([created(f"e-{number}")])
            assert await one.positions.wait("executions", position, 10)


async def test_waiting_reader_ends_the_gathering_of_a_page(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Executions, "gathers", 60)
    async with opened(views) as store, process(views, store) as one:
        log = Log(store)
        for number in range(3):
            position = await log.write([created(f"e-{number}")])
            assert await one.positions.wait("executions", position, 10)


async def test_poll_finds_events_without_a_listener(views: str) -> None:
    async with opened(views) as store, process(views, store, listening=False) as one:
        position = await Log(store).write(some(1))
        assert await one.positions.wait("executions", position, 10)


@pytest.mark.parametrize("listening", [True, False])
async def test_poll_interval_is_long_with_notifications_and_short_without(
    views: str, monkeypatch: pytest.MonkeyPatch, listening: bool
) -> None:
    looked: list[LiveFollower] = []
    catch_up = LiveFollower.catch_up

    async def count_call(
        live: LiveFollower, connection: AsyncConnection, followed: Sequence[Projection]
    ) -> LivePage:
        looked.append(live)
        return await catch_up(live, connection, followed)

    monkeypatch.setattr(LiveFollower, "catch_up", count_call)
    monkeypatch.setattr(notifications, "LISTENING_POLL", 60)
    async with opened(views) as store, process(views, store, listening=listening) as one:
        await until(
            lambda: one.listener.poll == (60 if listening else notifications.DISCONNECTED_POLL)
        )
        assert await one.positions.wait("executions", await Log(store).write(some(1)), 10)
        await asyncio.sleep(0.4)  # a poll that was planned before
        looked.clear()
        await asyncio.sleep(0.8)
        assert bool(looked) is not listening


async def test_listener_without_a_connection_reports_that_it_does_not_listen(database: str) -> None:
    listener = Listener(database, "executions")
    wake = listener.subscribe("executions")
    assert listener.poll == notifications.DISCONNECTED_POLL
    listener.start()
    try:
        assert await wake.wait(10)
        assert listener.poll == notifications.LISTENING_POLL
        listener.conninfo = f"{database} port=1"
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await until(lambda: listener.poll == notifications.DISCONNECTED_POLL)
    finally:
        await listener.stop()


async def test_process_that_does_not_own_the_view_sees_its_progress(views: str) -> None:
    async with opened(views) as store, process(views, store) as owner:
        log = Log(store)
        assert await owner.positions.wait("executions", await log.write(some(1)), 10)
        async with process(views, store) as other, process(views, store, listening=False) as deaf:
            position = await log.write([created("later")])
            for one in (owner, other, deaf):
                assert await one.positions.wait("executions", position, 10)


async def test_another_process_takes_over_when_the_owner_ends(views: str) -> None:
    async with opened(views) as store, process(views, store) as owner:
        log = Log(store)
        assert await owner.positions.wait("executions", await log.write(some(1)), 10)
        async with process(views, store) as heir:
            await owner.stop()
            begun = monotonic()
            position = await log.write([created("later")])
            assert await heir.positions.wait("executions", position, 10)
            assert monotonic() - begun < 5


async def test_lost_connection_is_replaced(views: str) -> None:
    async with opened(views) as store, process(views, store) as one:
        log = Log(store)
        assert await one.positions.wait("executions", await log.write(some(1)), 10)
        with psycopg.connect(views, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        position = await (await retry_until_connected(log)).write([created("later")])
        assert await one.positions.wait("executions", position, 10)


async def test_waiting_reader_is_woken_when_a_rebuild_moves_the_bookmark(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Executions, "gathers", 0.5)
    async with opened(views) as store, process(views, store) as one:
        log = Log(store)
        assert await one.positions.wait("executions", await log.write(some(3)), 10)
        position = await log.write([created("later")])
        rebuilt = await rebuild(views, "executions", Executions(store.codec), store)
        assert rebuilt.position == position
        assert await one.positions.wait("executions", position, 10)


async def test_malformed_notification_does_not_stop_the_listener(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(position_tracker, "POLL", 60)
    async with opened(views) as store, process(views, store) as one:
        log = Log(store)
        assert await one.positions.wait("executions", await log.write(some(1)), 10)
        with psycopg.connect(views, autocommit=True) as stranger:
            stranger.execute("NOTIFY executions_views, 'nonsense'")
        assert await one.positions.wait("executions", await log.write([created("later")]), 10)


async def retry_until_connected(log: Log) -> Log:
    """The log, once it has noticed its own broken connections."""
    async with asyncio.timeout(20):
        while True:
            try:
                await log.store.head()
                async with log.store.transaction():
                    return log
            except Exception:  # noqa: BLE001 - whatever a broken connection raises
                await asyncio.sleep(0.1)


async def test_view_continues_after_an_outage_of_the_database(
    postgres_root: Path, postgres_bin: Path | None
) -> None:
    server = EmbeddedPostgres(postgres_root, bin_dir=postgres_bin)
    with server:
        conninfo = server.conninfo()
        migrate_log(conninfo, "executions")
        store = new_store(conninfo)
        migrate_projections(conninfo, "executions", [Executions(store.codec)])
        await store.open()
        async with process(conninfo, store) as one:
            log = Log(store)
            assert await one.positions.wait("executions", await log.write(some(2)), 10)
            server.__exit__()
            await asyncio.sleep(1)
            server.__enter__()
            position = await (await retry_until_connected(log)).write([created("later")])
            assert await one.positions.wait("executions", position, 20)
            assert await names(store, one.view) == {"e-0", "e-1", "later"}
        await store.close()


async def test_view_without_tables_is_retried_until_it_has_them(database: str) -> None:
    async with opened(database) as store, process(database, store) as one:
        position = await Log(store).write(some(1))
        await asyncio.sleep(0.3)
        migrate_projections(database, "executions", [one.view])
        assert await one.positions.wait("executions", position, 20)


def execute(conninfo: str, *statements: LiteralString) -> None:
    options = session_options("executions")
    with psycopg.connect(conninfo, autocommit=True, options=options) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_view_is_rebuilt_when_its_bookmark_is_lost(views: str) -> None:
    async with opened(views) as store, process(views, store) as one:
        log = Log(store)
        assert await one.positions.wait("executions", await log.write(some(3)), 10)
        # In a thread: the runner in this loop may hold the bookmark, and has to continue.
        damage = ("DELETE FROM bookmarks", "UPDATE executions SET service = 'damaged'")
        await asyncio.to_thread(execute, views, *damage)
        await log.write([created("e-3")])
        expected, deadline = {"e-0", "e-1", "e-2", "e-3"}, monotonic() + 30
        while await names(store, one.view) != expected:
            assert monotonic() < deadline
            await asyncio.sleep(0.05)
        async with store.reader() as connection_:
            found = await connection_.execute("SELECT DISTINCT service FROM executions")
            assert await found.fetchall() == [("s-1",)]


async def test_stopping_ends_every_task(views: str) -> None:
    def ours() -> set[str]:
        names = {task.get_name() for task in asyncio.all_tasks()}
        return names & {"listener", "views", "view positions"}

    async with opened(views) as store:
        async with process(views, store) as one:
            assert await one.positions.wait("executions", await Log(store).write(some(1)), 10)
            assert ours() == {"listener", "views", "view positions"}
        assert ours() == set()


async def test_event_during_a_page_wakes_the_runner_again() -> None:
    wake = Wake()
    wake.set()
    assert await wake.wait(5)
    assert not await wake.wait(0.01)


async def test_running_listener_refuses_more_channels(database: str) -> None:
    listener = Listener(database, "executions")
    wake = listener.subscribe("executions")
    listener.start()
    try:
        assert await wake.wait(10)  # connected: anything may have been missed before
        with pytest.raises(RuntimeError):
            listener.subscribe("another")
    finally:
        await listener.stop()
