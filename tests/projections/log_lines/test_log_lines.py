"""Log lines of workers and of the server are read together, and their content is sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from domain.errors import Erased, IdempotencyKeyReused, Invalid, NotFound
from domain.eventlog import append
from domain.eventlog.idempotency import REPLY_RETENTION, IdempotencyKey
from domain.eventlog.queries import append_statement
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.execution.commands.log import LogLine
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import ExecutionCancelled, ExecutionFailed, RetryScheduled
from domain.execution.types import ExecutionError
from projections.engine.follower import Follower
from projections.engine.migrations import migrate_projections
from projections.engine.pages import LogPages
from projections.engine.rebuild import rebuild
from projections.log_lines.model import LogFilter
from projections.log_lines.projection import LogLineProjection
from projections.log_lines.reader import LogLinePages
from tests.support.event_writer import (
    NOON,
    SECOND,
    Happening,
    Log,
    completed,
    created,
    opened,
    started,
)
from tests.support.log_lines import append_lines

pytestmark = pytest.mark.anyio
SCHEMA = "executions"
TIMEOUT = ExecutionError(code="API_TIMEOUT", message="s3cret after 30s", recoverable=True, step="a")
RETRY = RetryScheduled(
    retry=1, max_retries=3, delay=SECOND, next_retry_at=NOON + timedelta(minutes=1)
)
ONE_LINE = LogLine(level="info", message="s3cret", context={"key": "s3cret"}, step="research")


@pytest.fixture
def tables(database: str) -> str:
    migrate_projections(database, SCHEMA, [LogLineProjection()])
    return database


@asynccontextmanager
async def write_retried(conninfo: str) -> AsyncIterator[tuple[Store, LogLinePages]]:
    """An execution that failed, was retried and completed: 6 events, 3 server lines, at 12:00:04 to :06."""
    async with opened(conninfo) as store:
        log = Log(store)
        failed = Happening("e-1", ExecutionFailed(error=TIMEOUT, final=False, will_retry=True))
        for happening in (
            created("e-1"),
            *started("e-1"),
            failed,
            Happening("e-1", RETRY),
            completed("e-1", "s3cret"),
        ):
            await log.write([happening])
        await follow(conninfo, store)
        yield store, LogLinePages(store)


async def follow(conninfo: str, store: Store) -> None:
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, options=session_options(SCHEMA)
    ) as connection:
        follower = Follower(LogLineProjection(), LogPages(store, LogLineProjection.types))
        while await follower.catch_up(connection):
            pass
        assert follower.parked == 0


def at(second: int) -> datetime:
    return NOON + second * SECOND


def line(second: int, message: str = "written", **more: Any) -> LogLine:
    return LogLine(level="debug", message=message, timestamp=at(second), **more)


def messages(lines: Sequence[dict[str, Any]]) -> list[str]:
    return [shown["message"] for shown in lines]


NOTES = [
    "API_TIMEOUT: s3cret after 30s",
    "Retrying after 1s (attempt 1/3)",
    "Request completed",
]


async def test_server_logs_failures_retries_and_completions(tables: str) -> None:
    async with write_retried(tables) as (_, book):
        page = await book.read("e-1")
    assert messages(page.data) == NOTES
    assert [shown["level"] for shown in page.data] == ["error", "warn", "info"]
    assert page.data[0]["timestamp"] == "2026-11-22T12:00:04.000Z"
    assert [shown.get("step") for shown in page.data] == ["a", None, None]


@pytest.mark.parametrize(
    ("event", "note"),
    [
        (ExecutionCancelled(reason="too late"), "Request cancelled: too late"),
        (ExecutionCancelled(), "Request cancelled"),
        (
            RetryScheduled(retry=5, delay=timedelta(milliseconds=1250), next_retry_at=NOON),
            "Retrying after 1.25s (manual)",
        ),
        (
            RetryScheduled(retry=1, delay=timedelta(), next_retry_at=NOON),
            "Retrying after 0s (manual)",
        ),
    ],
)
async def test_server_log_line_has_the_documented_text(tables: str, event: Any, note: str) -> None:
    async with opened(tables) as store:
        await Log(store).write([created("e-1"), Happening("e-1", event)])
        await follow(tables, store)
        assert messages((await LogLinePages(store).read("e-1")).data) == [note]


async def test_client_and_server_lines_are_read_in_order_of_time(tables: str) -> None:
    async with write_retried(tables) as (store, book):
        await append_lines(
            store, "e-1", [line(9, "last"), line(1, "first"), line(5, "between")], at(20)
        )
        up = messages((await book.read("e-1")).data)
        down = messages((await book.read("e-1", descending=True)).data)
    assert up == ["first", NOTES[0], NOTES[1], "between", NOTES[2], "last"]
    assert down == up[::-1]


async def test_line_is_read_as_it_was_appended(tables: str) -> None:
    async with write_retried(tables) as (store, book):
        await append_lines(store, "e-1", [ONE_LINE], at(20))
        (shown,) = (await book.read("e-1", LogFilter(step="research"))).data
    assert shown == {
        "timestamp": "2026-11-22T12:00:20.000Z",
        "recordedAt": "2026-11-22T12:00:20.000Z",
        "level": "info",
        "step": "research",
        "message": "s3cret",
        "context": {"key": "s3cret"},
    }


async def test_no_table_holds_content_in_the_clear(tables: str) -> None:
    async with write_retried(tables) as (store, _):
        await append_lines(store, "e-1", [ONE_LINE], at(20))
        async with store.reader() as connection:
            for table in ("log_lines", "log_notes"):
                kept = await (await connection.execute(f"SELECT * FROM {table}")).fetchall()  # noqa: S608
                assert kept
                assert "s3cret" not in repr(kept)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_show_every_line_once_although_times_are_equal(
    tables: str, limit: int, *, descending: bool
) -> None:
    async with write_retried(tables) as (store, book):
        await append_lines(store, "e-1", [line(n % 3 + 3, f"{n}") for n in range(9)], at(20))
        seen, cursor = list[str](), None
        while True:
            page = await book.read("e-1", descending=descending, limit=limit, cursor=cursor)
            seen += messages(page.data)
            cursor = page.next_cursor
            if cursor is None:
                break
        everything = messages((await book.read("e-1", limit=100)).data)
    assert seen == (everything[::-1] if descending else everything)
    assert len(seen) == 12


@pytest.mark.parametrize(
    ("only", "found"),
    [
        (LogFilter(level=["error"]), [NOTES[0]]),
        (LogFilter(level=["debug", "info"]), ["written", NOTES[2]]),
        (LogFilter(step="a"), [NOTES[0]]),
        (LogFilter(since=at(5), until=at(6)), [NOTES[1], "written"]),
        (LogFilter(step="a", level=["info"]), []),
    ],
)
async def test_lines_are_chosen_by_level_step_and_time(
    tables: str, only: LogFilter, found: list[str]
) -> None:
    async with write_retried(tables) as (store, book):
        await append_lines(store, "e-1", [line(5)], at(20))
        assert messages((await book.read("e-1", only)).data) == found


async def test_latest_lines_are_returned_with_the_number_of_all(tables: str) -> None:
    async with write_retried(tables) as (store, book):
        assert await book.latest("e-1") == ((await book.read("e-1")).data, 3)
        await append_lines(store, "e-1", [line(30 + n, f"{n}") for n in range(5)], at(60))
        lines, total = await book.latest("e-1", 2)
        nothing = await book.latest("e-2")
    assert (messages(lines), total) == (["3", "4"], 8)
    assert nothing == ([], 0)


async def test_line_for_an_unknown_execution_is_refused(tables: str) -> None:
    async with write_retried(tables) as (store, _):
        for lines in ([], [ONE_LINE]):
            with pytest.raises(NotFound):
                await append_lines(store, "e-2", lines, at(20))


async def test_key_stores_lines_once_even_in_another_process_and_expires_after_a_day(
    tables: str,
) -> None:
    once = IdempotencyKey("caller:k", "body")
    async with write_retried(tables) as (store, book):
        assert not await append_lines(store, "e-1", [ONE_LINE], at(20), once)
    async with opened(tables) as store:
        book = LogLinePages(store)
        assert await append_lines(store, "e-1", [ONE_LINE], at(21), once)
        with pytest.raises(IdempotencyKeyReused):
            await append_lines(store, "e-1", [ONE_LINE], at(21), once._replace(fingerprint="other"))
        assert len((await book.read("e-1")).data) == 4
        assert not await append_lines(store, "e-1", [ONE_LINE], at(20) + REPLY_RETENTION, once)
        assert len((await book.read("e-1")).data) == 5


def fail_at_the_end(**parts: bool) -> str:
    return append_statement(**parts).replace(
        " FROM (VALUES", ", (SELECT 'no ' || count(*) FROM head)::int FROM (VALUES"
    )


async def test_rolled_back_append_does_not_use_up_its_key(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = IdempotencyKey("caller:k", "body")
    async with write_retried(tables) as (store, book):
        with monkeypatch.context() as patched:
            patched.setattr(append, "append_statement", fail_at_the_end)
            with pytest.raises(Exception, match="invalid input syntax"):
                await append_lines(store, "e-1", [ONE_LINE], at(20), once)
        assert not await append_lines(store, "e-1", [ONE_LINE], at(20), once)
        assert len((await book.read("e-1")).data) == 4


async def test_erasure_hides_log_lines_and_refuses_new_ones(tables: str) -> None:
    async with write_retried(tables) as (store, book):
        await append_lines(store, "e-1", [ONE_LINE], at(20))
    async with opened(tables) as store:
        async with store.reader() as connection:
            await connection.execute("DELETE FROM data_keys")
        book = LogLinePages(store)
        lines = (await book.read("e-1")).data
        with pytest.raises(Erased):
            await append_lines(store, "e-1", [ONE_LINE], at(30))
    assert messages(lines) == [None, NOTES[1], NOTES[2], None]
    assert [shown.get("erased") for shown in lines] == [True, None, None, True]
    assert "context" not in lines[-1]


async def test_rebuild_leaves_the_lines_of_workers_unchanged(tables: str) -> None:
    async with write_retried(tables) as (store, book):
        await append_lines(store, "e-1", [line(5)], at(20))
        before = (await book.read("e-1")).data
        await rebuild(tables, SCHEMA, LogLineProjection(), store)
        assert (await book.read("e-1")).data == before
        await append_lines(store, "e-1", [line(6, "more")], at(21))
        assert messages((await book.read("e-1")).data)[-2:] == [NOTES[2], "more"]


@pytest.mark.parametrize(
    "cursor", ["x", "1.2", "1.2.3.4", "1.2.", "9" * 19 + ".1.1", "1.1." + "9" * 19]
)
async def test_cursor_of_another_query_is_refused(tables: str, cursor: str) -> None:
    async with write_retried(tables) as (_, book):
        with pytest.raises(Invalid):
            await book.read("e-1", cursor=cursor)


def test_execution_has_its_key_from_its_first_event() -> None:
    """So a writer of lines finds the key, and never has to make one itself."""
    assert ExecutionCreated.sealed
