"""Verification names snapshots that differ from the fold of their events, and replaces them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.integrity.histories import Histories
from domain.integrity.snapshots import rebuild_snapshots, snapshot_faults
from tests.domain.eventlog.test_store import opened
from tests.support.sample_aggregate import (
    Begin,
    Note,
    Raise,
    message,
    running_bus,
    store,
)

pytestmark = pytest.mark.anyio

ALTER = """UPDATE snapshots AS s SET state = o.state, digest = snapshot_digest(
        originator_id, originator_version, position, shape, o.state)
    FROM (SELECT convert_to('{"id":"a","total":7}', 'UTF8') AS state) AS o
    WHERE s.originator_id = 'tally/a'"""
BEYOND = """INSERT INTO snapshots SELECT originator_id, 9000, 9000, at, state, shape,
    snapshot_digest(originator_id, 9000, 9000, shape, state) FROM snapshots
    WHERE originator_id = 'tally/a'"""


@pytest.fixture
async def log(database: str) -> AsyncIterator[Store]:
    """`a` and `b` with 1 102 events each, one of the first a sealed note, and a snapshot."""
    async with running_bus(store(database)) as bus:
        for name in "ab":
            await bus.send(message(name, Begin()))
            await bus.send(message(name, Note(note="secret")))
            for _ in range(2):
                await asyncio.gather(*(bus.submit(message(name, Raise())) for _ in range(550)))
    change(database, "DELETE FROM snapshots")
    async with opened(store(database)) as fresh:
        for name in "ab":
            await fresh.load(f"tally/{name}")
        yield fresh


def change(database: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def find_faults(database: str, log: Store) -> tuple[int, list[tuple[str, str]]]:
    histories = Histories(database, "executions")
    try:
        checked = [fault async for fault in snapshot_faults(log, histories)]
    finally:
        histories.close()
    return len(checked), [(fault.place, fault.what) for fault in checked if fault]


DAMAGES = {
    "altered": (ALTER, "tally/a at version 1102", "differs from the events"),
    "truncated": (
        "UPDATE snapshots SET state = substring(state FOR 9) WHERE originator_id = 'tally/a'",
        "tally/a at version 1102",
        "is not as it was kept",
    ),
    "beyond": (BEYOND, "tally/a at version 9000", "is of no event that is in the log"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damaged_snapshot_is_named_and_replaced(
    database: str, log: Store, damage: tuple[str, str, str]
) -> None:
    assert await find_faults(database, log) == (2, [])
    statement, place, what = damage
    change(database, statement)
    assert (await find_faults(database, log))[1] == [(place, what)]
    histories = Histories(database, "executions")
    try:
        assert await rebuild_snapshots(log, histories) == 2
    finally:
        histories.close()
    assert await find_faults(database, log) == (4, [])
    kept = "SELECT originator_id, originator_version FROM snapshots ORDER BY 1, 2"
    assert change(database, kept) == [
        (f"tally/{name}", version) for name in "ab" for version in (500, 1_000)
    ]
    versioned = await log.load("tally/a")
    assert versioned is not None
    assert (versioned.state.total, versioned.state.note) == (1_100, "secret")


async def test_snapshot_of_an_earlier_build_or_another_fingerprint_is_not_a_fault(
    database: str, log: Store
) -> None:
    change(database, "UPDATE snapshots SET digest = NULL WHERE originator_id = 'tally/a'")
    change(database, "UPDATE snapshots SET shape = 'other' WHERE originator_id = 'tally/b'")
    assert await find_faults(database, log) == (0, [])


async def test_snapshot_of_an_unreadable_stream_is_named(database: str, log: Store) -> None:
    change(database, "ALTER TABLE events DISABLE TRIGGER append_only")
    change(
        database,
        """UPDATE events SET state = '{' WHERE originator_id = 'tally/a'
            AND originator_version = 9""",
    )
    assert await find_faults(database, log) == (
        2,
        [("tally/a at version 1102", "cannot be compared: the events before it cannot be read")],
    )
