"""All processes record reads in one hash chain; a read that cannot be recorded is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from api.clock import Clock
from domain.errors import Overloaded
from domain.eventlog.access.access_log import AccessLog
from domain.eventlog.access.entry import BEFORE_ALL, SEPARATOR, Access, chain_hash, entry_bytes
from domain.eventlog.migrations import migrate_log
from domain.eventlog.sessions import session_options

READ = Access("customer:acme", "key-1", "readExecution", ("e-1",), "127.0.0.1", "Invoice 7", "c-1")
LIST = Access("admin", "admin-token", "listExecutions", ("e-1", "e-2"), detail='{"query":[]}')
ROWS = """SELECT id, at, actor, credential, operation, executions, address, purpose, correlation, detail,
    hash FROM access_log ORDER BY id"""


@asynccontextmanager
async def recording(conninfo: str, clock: Clock | None = None) -> AsyncIterator[AccessLog]:
    log = AccessLog(conninfo, "executions", clock or Clock())
    log.start()
    try:
        yield log
    finally:
        await log.stop()


@pytest.fixture
def log_database(database: str) -> str:
    migrate_log(database, "executions")
    return database


def connect(conninfo: str) -> psycopg.Connection:
    return psycopg.connect(conninfo, options=session_options("executions"), autocommit=True)


def read_chain(conninfo: str) -> list[Access]:
    """The recorded reads in order, after checking that they form one chain up to its head."""
    found, before, number, latest = [], BEFORE_ALL, 0, datetime.fromtimestamp(0, UTC)
    with connect(conninfo) as connection:
        for number, (id_, at, *texts, hash_) in enumerate(connection.execute(ROWS).fetchall(), 1):
            access = Access._make((*texts[:3], tuple(texts[3]), *texts[4:]))
            assert (id_, at >= latest) == (number, True)
            before, latest = chain_hash(before, entry_bytes(id_, at, access)), at
            assert hash_ == before
            found.append(access)
        head = connection.execute("SELECT id, at, hash FROM access_head").fetchone()
    assert head == (number, latest, before)
    return found


async def test_reads_are_recorded_in_order_in_one_chain(log_database: str) -> None:
    async with recording(log_database) as log:
        await log.record(READ)
        await asyncio.gather(*(log.record(LIST) for _ in range(1_200)))
    assert read_chain(log_database) == [READ, *[LIST] * 1_200]


async def test_several_processes_record_in_one_chain(log_database: str) -> None:
    async with recording(log_database) as one, recording(log_database) as other:
        for _ in range(20):
            await asyncio.gather(*(log.record(READ) for log in (one, other) for _ in range(7)))
        await one.record(LIST)
        await one.record(LIST)
    assert len(read_chain(log_database)) == 282


async def test_chain_continues_after_a_restart(log_database: str) -> None:
    for _ in range(3):
        async with recording(log_database) as log:
            await log.record(READ)
    assert read_chain(log_database) == [READ] * 3


async def test_times_never_decrease_though_the_clock_does(log_database: str) -> None:
    async with recording(log_database) as log:
        await log.record(READ)
    async with recording(log_database, Clock(lambda: 1_000_000_000.0)) as behind:
        await behind.record(READ)
    assert len(read_chain(log_database)) == 2


async def test_read_of_a_day_without_a_partition_is_recorded(log_database: str) -> None:
    ahead = (datetime.now(UTC) + timedelta(days=30)).timestamp()
    async with recording(log_database, Clock(lambda: ahead)) as log:
        await log.record(READ)
    assert read_chain(log_database) == [READ]
    with connect(log_database) as connection:
        assert connection.execute("SELECT count(*) FROM access_log_rest").fetchone() == (1,)
        day = datetime.fromtimestamp(ahead, UTC).date()
        made = connection.execute("SELECT make_access_day(%s)", (day,)).fetchone()
    assert made == (False,)  # entries of the default partition are not moved


async def test_read_that_cannot_be_recorded_is_refused_and_the_next_is_recorded(
    log_database: str,
) -> None:
    async with recording(log_database) as log:
        await log.record(READ)
        with connect(log_database) as other:
            other.execute("ALTER TABLE access_log RENAME TO gone")
            with pytest.raises(Overloaded):
                await log.record(READ)
            other.execute("ALTER TABLE gone RENAME TO access_log")
        await log.record(LIST)
    assert read_chain(log_database) == [READ, LIST]


async def test_read_whose_entry_the_database_drops_is_refused(log_database: str) -> None:
    swallow = "AS 'BEGIN RETURN NULL; END'"
    async with recording(log_database) as log:
        await log.record(READ)
        with connect(log_database) as other:
            other.execute(f"CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql {swallow}")
            other.execute(
                "CREATE TRIGGER swallow BEFORE UPDATE ON access_head"
                " FOR EACH ROW EXECUTE FUNCTION swallow()"
            )
            with pytest.raises(Overloaded):
                await log.record(READ)
            other.execute("DROP FUNCTION swallow CASCADE")
        await log.record(LIST)
    assert read_chain(log_database) == [READ, LIST]


async def test_read_is_recorded_on_a_new_connection_after_the_old_one_is_lost(
    log_database: str,
) -> None:
    async with recording(log_database) as log:
        await log.record(READ)
        with connect(log_database) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
                " WHERE query LIKE '%access_log%' AND pid <> pg_backend_pid()"
            )
        await log.record(LIST)
    assert read_chain(log_database) == [READ, LIST]


async def test_read_is_refused_if_the_access_log_is_not_running(log_database: str) -> None:
    log = AccessLog(log_database, "executions", Clock())
    with pytest.raises(Overloaded):
        await log.record(READ)
    log.start()
    await log.stop()
    with pytest.raises(Overloaded):
        await log.record(READ)


@pytest.mark.parametrize(
    "statement", ["UPDATE access_log SET actor = 'x'", "DELETE FROM access_log"]
)
async def test_recorded_read_can_neither_be_changed_nor_deleted(
    log_database: str, statement: str
) -> None:
    async with recording(log_database) as log:
        await log.record(READ)
    with connect(log_database) as connection:
        for partition in ("access_log", f"access_log_{datetime.now(UTC):%Y%m%d}"):
            with pytest.raises(psycopg.errors.RestrictViolation):
                connection.execute(statement.replace("access_log", partition).encode())


def test_different_entries_have_different_bytes() -> None:
    at = datetime(2026, 11, 28, tzinfo=UTC)
    base = entry_bytes(1, at, READ)
    texts = [name for name in Access._fields if name != "executions"]
    others = [Access(**{**READ._asdict(), name: "x"}) for name in texts]
    others += [READ._replace(executions=("e-1", "e-2")), READ._replace(executions=())]
    found = {base, entry_bytes(2, at, READ), entry_bytes(1, at + timedelta(microseconds=1), READ)}
    found |= {entry_bytes(1, at, other) for other in others}
    moved = READ._replace(actor="customer:acmekey-1", credential="")
    assert len(found | {entry_bytes(1, at, moved)}) == len(others) + 4
    assert SEPARATOR not in "".join(READ.executions)
