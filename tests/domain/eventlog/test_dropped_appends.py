"""An append that the database silently drops is refused and leaves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from structlog.testing import capture_logs

from domain.errors import Overloaded
from domain.eventlog.codec import EventRow, LineRow
from domain.eventlog.idempotency import IdempotencyKey, Reply
from domain.eventlog.keys.current import open_with_current_key
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.model import Recorded
from domain.writer.guarded_writer import GuardedWriter
from tests.support.sample_aggregate import (
    NOON,
    Begin,
    Raise,
    TallyBegun,
    clock,
    message,
    running_bus,
    store,
)

SWALLOW = """CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER swallow BEFORE {} FOR EACH ROW EXECUTE FUNCTION swallow()"""
LET_GO = "DROP FUNCTION swallow CASCADE"
OF_HEAD = "UPDATE ON head"
LINE = LineRow("e-1", NOON, NOON, "info", None, "sealed")
ONCE = IdempotencyKey("caller:k", "body")

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(database: str) -> AsyncIterator[Store]:
    async with open_with_current_key(store(database)) as log:
        yield log


@contextmanager
def drop_silently(conninfo: str, what: str) -> Iterator[None]:
    """While the block runs, the database skips these statements without an error."""
    with psycopg.connect(
        conninfo, options=session_options("executions"), autocommit=True
    ) as connection:
        connection.execute(SWALLOW.format(what).encode())
        yield
        connection.execute(LET_GO)


def begin_row(log: Store, position: int) -> EventRow:
    recorded = Recorded(f"tally/{position}", 1, position, NOON, TallyBegun(), "tester")
    return log.codec.encode(recorded, None)


async def test_locked_append_that_does_not_move_the_head_is_refused_with_its_reply(
    database: str, log: Store
) -> None:
    reply = Reply(ONCE.key, ONCE.fingerprint, "{}")
    with drop_silently(database, OF_HEAD), capture_logs() as logged, pytest.raises(Overloaded):
        async with log.transaction() as transaction:
            await transaction.append([begin_row(log, 1)], [reply], NOON)
    assert [line["log_level"] for line in logged] == ["error"]
    assert ((await log.head())[0], await log.read(0, 10), await log.reply(ONCE)) == (0, [], None)
    async with log.transaction() as transaction:
        await transaction.append([begin_row(log, 1)], [reply], NOON)
    assert len(await log.read(0, 10)) == 1


async def test_locked_append_beyond_the_head_is_refused(log: Store) -> None:
    async with log.transaction() as transaction:
        transaction.position = 7
        with pytest.raises(Overloaded):
            await transaction.append([begin_row(log, 8)], [], NOON)
    assert (await log.head())[0] == 0


async def test_dropped_log_lines_are_refused(database: str, log: Store) -> None:
    with drop_silently(database, "UPDATE ON log_head"), pytest.raises(Overloaded):
        async with log.transaction() as transaction:
            await transaction.append([begin_row(log, 1)], [], NOON, [LINE])
    with drop_silently(database, "UPDATE ON log_head"), pytest.raises(Overloaded):
        async with log.transaction() as transaction:
            await transaction.append([], [], NOON, [LINE])
    assert (await log.head())[0] == 0


async def test_commands_whose_append_is_dropped_are_refused_and_the_next_are_accepted(
    database: str, log: Store
) -> None:
    writer = GuardedWriter(log, clock, str, lambda: 0.5)
    async with running_bus(store(database)) as bus:
        await bus.send(message("a", Begin()))
        with drop_silently(database, OF_HEAD):
            for send in (bus.send, writer.send):
                with pytest.raises(Overloaded):
                    await send(message("a", Raise()))
        assert (await bus.send(message("a", Raise()))).versioned.version == 2
        assert (await writer.send(message("a", Raise()))).versioned.version == 3
