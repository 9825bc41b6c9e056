"""A process notices that a log has lost events that it had seen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from domain.eventlog.connection.log_head import (
    LastSeen,
    LogDiverged,
    read_events_and_head,
    read_head,
    read_head_unchecked,
    renew_diverged_log_id,
)
from domain.eventlog.connection.log_monitor import LogMonitor
from domain.eventlog.connection.notifications import Listener, Wake
from domain.eventlog.keys.current import open_with_current_key
from domain.eventlog.queries import READ_BYTES
from domain.eventlog.setup.log_id import log_id, renew_log_id
from domain.eventlog.store import Store
from domain.model import Recorded
from domain.writer.batch import Loaded
from domain.writer.state_cache import StateCache
from tests.support.sample_aggregate import NOON, TallyBegun, store
from tests.support.tampering import change

SECOND = timedelta(seconds=1)
LOSE = "DELETE FROM events WHERE notification_id > {0}; UPDATE head SET position = {0}"

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(database: str) -> AsyncIterator[Store]:
    async with open_with_current_key(store(database)) as log:
        yield log


async def append(log: Store, stream: str, seconds: int) -> None:
    """Append one event, this many seconds after noon."""
    async with log.transaction() as transaction:
        at = NOON + seconds * SECOND
        recorded = Recorded(
            f"tally/{stream}", 1, transaction.position + 1, at, TallyBegun(), "tester"
        )
        await transaction.append([log.codec.encode(recorded, None)], [], at)


async def read_three_events(log: Store) -> LastSeen:
    """The last seen position of a process that has read three events."""
    for place in range(1, 4):
        await append(log, f"s-{place}", place)
    seen = LastSeen()
    async with log.reader() as connection:
        head, rows = await read_events_and_head(connection, seen, 1, 100, READ_BYTES)
    assert (head.position, [row.position for row in rows]) == (3, [2, 3])
    return seen


async def test_log_that_has_grown_did_not_go_back(log: Store) -> None:
    seen = await read_three_events(log)
    await append(log, "s-4", 4)
    async with log.reader() as connection:
        assert (await read_head(connection, seen)).position == 4
    assert seen.position == 4


async def test_log_whose_head_has_another_time_than_its_event_did_not_go_back(
    database: str, log: Store
) -> None:
    await read_three_events(log)
    change(database, LOSE.format(2))  # the head keeps the time of the third event
    seen = LastSeen()
    async with log.reader() as connection:
        for _ in range(2):
            assert (await read_head(connection, seen)).position == 2
            assert (await read_events_and_head(connection, seen, 2, 100, READ_BYTES))[1] == []


async def test_log_whose_head_is_lower_went_back(database: str, log: Store) -> None:
    seen = await read_three_events(log)
    change(database, LOSE.format(2))
    async with log.reader() as connection:
        with pytest.raises(LogDiverged):
            await read_head(connection, seen)
        with pytest.raises(LogDiverged):
            await read_events_and_head(connection, seen, 3, 100, READ_BYTES)


async def test_log_with_other_events_at_a_seen_position_went_back(
    database: str, log: Store
) -> None:
    seen = await read_three_events(log)
    change(database, LOSE.format(1))
    for place in range(2, 6):
        await append(log, f"other-{place}", place + 2)
    async with log.reader() as connection:
        with pytest.raises(LogDiverged):
            await read_head(connection, seen)


async def test_writer_that_continues_after_a_lost_event_does_not_hide_that_the_log_went_back(
    database: str, log: Store
) -> None:
    seen = await read_three_events(log)
    cache = StateCache(log.keyring, seen)
    change(database, LOSE.format(2))
    for place in range(3, 6):
        async with log.transaction() as transaction:
            cache.begin(transaction)
        await append(log, f"other-{place}", place + 2)
        cache.remember(Loaded(), place, NOON + (place + 2) * SECOND)
    async with log.reader() as connection:
        with pytest.raises(LogDiverged):
            await read_head(connection, seen)


async def test_writer_on_an_intact_log_notes_what_it_writes(log: Store) -> None:
    """Also if another writer has written in between, which the reader has not seen yet."""
    seen = await read_three_events(log)
    cache = StateCache(log.keyring, seen)
    for place in (4, 6):
        async with log.transaction() as transaction:
            cache.begin(transaction)
        await append(log, f"s-{place}", place)
        cache.remember(Loaded(), place, NOON + place * SECOND)
        assert (seen.position, seen.at) == (place, NOON + place * SECOND)
        await append(log, f"other-{place + 1}", place + 1)


async def test_log_that_lost_events_gets_one_new_id_however_many_processes_notice(
    database: str, log: Store
) -> None:
    seen, before = await read_three_events(log), log_id(database, "executions")
    async with log.reader() as connection:
        await renew_diverged_log_id(connection, seen, before)
        assert (await read_head_unchecked(connection)).log_id == before  # it lacks nothing
        change(database, LOSE.format(2))
        await renew_diverged_log_id(connection, seen, before)
        renewed = (await read_head_unchecked(connection)).log_id
        await renew_diverged_log_id(connection, seen, before)
        assert (await read_head_unchecked(connection)).log_id == renewed != before


async def test_monitor_polls_the_head_without_notifications(database: str, log: Store) -> None:
    other = store(database)
    listener = Listener(database, "executions")  # it gets no notifications: it is not started
    listener.is_listening = True
    woken = listener.subscribe("executions")
    await other.open()
    watch = LogMonitor(other, lambda: None, listener)
    watch.start()
    try:
        assert await woken.wait(10)
        await append(log, "s-1", 1)
        assert await woken.wait(10)
    finally:
        await watch.stop()
        await other.close()


async def test_monitor_wakes_all_while_no_connection_listens(database: str) -> None:
    other, listener = store(database), Listener(database, "executions")
    woken = listener.subscribe("of the views")
    await other.open()
    watch = LogMonitor(other, lambda: None, listener)
    watch.start()
    try:
        assert await woken.wait(10)
        assert await woken.wait(10)
    finally:
        await watch.stop()
        await other.close()


async def test_monitor_reports_that_the_log_has_another_id(database: str, log: Store) -> None:
    called, other, listener = Wake(), store(database), Listener(database, "executions")
    looked = listener.subscribe("executions")
    await other.open()
    watch = LogMonitor(other, called.set, listener)
    watch.start()
    try:
        assert await looked.wait(10)
        assert not await called.wait(0)
        renew_log_id(database, "executions")
        assert await called.wait(10)
    finally:
        await watch.stop()
        await other.close()
