"""Verification of the log names each violated rule: holes, versions, times, heads, bytes and keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from domain.eventlog.encryption import Vault
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.integrity import log as log_checks
from domain.integrity.keys import key_faults
from projections.engine import rebuild as rebuilding
from projections.engine.verification.verify import LogVerification, Work, verify
from tests.domain.eventlog.test_store import opened, write
from tests.support.sample_aggregate import (
    MASTER_KEY,
    Begin,
    Erase,
    Note,
    Raise,
    TallyNoted,
    message,
    running_bus,
    store,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(database: str) -> AsyncIterator[Store]:
    """`a` and `b` alternately, 20 events: each begun, raised, and with a sealed note."""
    async with running_bus(store(database)) as bus:
        for name in "ab":
            await bus.send(message(name, Begin()))
        for _ in range(8):
            await asyncio.gather(*(bus.submit(message(name, Raise())) for name in "ab"))
        for name in "ab":
            await bus.send(message(name, Note(note="secret")))
    async with opened(store(database)) as fresh:
        yield fresh


def change(database: str, *statements: str) -> None:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER append_only")
        for statement in statements:
            connection.execute(statement.encode())


async def find_faults(database: str, log: Store) -> list[tuple[str, str]]:
    checked = verify(database, log, Work([], key=MASTER_KEY), LogVerification())
    return [(fault.place, fault.what) async for fault in checked]


async def test_intact_log_has_no_faults(log: Store, database: str) -> None:
    assert await find_faults(database, log) == []


DAMAGES = {
    "hole": (
        "DELETE FROM events WHERE notification_id IN (5, 6)",
        [("positions 5 to 6", "there are no such events")],
    ),
    "first event": (
        "DELETE FROM events WHERE notification_id = 1",
        [("positions 1 to 1", "there are no such events")],
    ),
    "torn end": (
        "DELETE FROM events WHERE notification_id > 18",
        [
            ("head", "is at 20, but the last event is at 18"),
            ("positions 19 to 20", "there are no such events"),
        ],
    ),
    "head behind": (
        "UPDATE head SET position = 7",
        [("head", "is at 7, but the last event is at 20")],
    ),
    "head lost": ("DELETE FROM head", [("head", "there is none: nothing can be written")]),
    "head of another time": (
        "UPDATE head SET at = at + interval '1 day'",
        [("head", "has another time than the last event")],
    ),
    "log lines without a head": (
        "DELETE FROM log_head",
        [("log_head", "is at None, but the last line is at 0")],
    ),
    "version": (
        "UPDATE events SET originator_version = 90 WHERE notification_id = 20",
        [("event 90 of tally/b", "does not follow on the version before it")],
    ),
    "time": (
        "UPDATE events SET at = 'epoch' WHERE notification_id = 10",
        [("event 5 of tally/b", "was recorded before the event before it")],
    ),
    "bytes": (
        "UPDATE events SET state = '{' WHERE notification_id = 10",
        [("event 5 of tally/b", "cannot be read: json_invalid")],
    ),
    "type": (
        "UPDATE events SET topic = 'tally.lost' WHERE notification_id = 10",
        [("event 5 of tally/b", "cannot be read: the type tally.lost is not known here")],
    ),
    "token": (
        """UPDATE events SET state = convert_to(replace(convert_from(state, 'UTF8'),
            '10.', '10.AAAA'), 'UTF8') WHERE notification_id = 19""",
        [("event 10 of tally/a", "has sealed content that its data key does not open")],
    ),
    "key lost": (
        "DELETE FROM data_keys WHERE originator_id = 'tally/a'",
        [("event 10 of tally/a", "has sealed content, and its stream has no data key")],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damage_of_the_log_is_named(
    log: Store,
    database: str,
    damage: tuple[str, list[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rebuilding, "PAGE", 3)
    statement, named = damage
    change(database, statement)
    faults = [
        (place, what.replace(" json", "json")) for place, what in await find_faults(database, log)
    ]
    assert [fault for fault in named if fault not in faults] == []
    if "version before" not in str(faults):
        assert faults == named


async def test_versions_after_a_lost_event_are_named(log: Store, database: str) -> None:
    change(database, "DELETE FROM events WHERE notification_id = 10")
    assert ("event 6 of tally/b", "does not follow on the version before it") in await find_faults(
        database, log
    )


async def test_key_that_cannot_be_unwrapped_is_named_once(log: Store, database: str) -> None:
    change(database, "UPDATE data_keys SET wrapped = 'x' WHERE originator_id = 'tally/a'")
    assert await find_faults(database, log) == []
    faults = [fault async for fault in key_faults(log, Vault(MASTER_KEY))]
    assert [fault and fault.place for fault in faults] == ["tally/a", None]


async def erase(database: str) -> None:
    """Erase `a`, by another process."""
    async with running_bus(store(database)) as bus:
        await bus.send(message("a", Erase()))


async def test_erased_key_is_not_a_fault(database: str, log: Store) -> None:
    await erase(database)
    assert await find_faults(database, log) == []
    faults = [fault async for fault in key_faults(log, Vault(MASTER_KEY))]
    assert faults == [None, None]


async def test_destroyed_key_without_an_erasing_event_is_a_fault(log: Store, database: str) -> None:
    change(database, "UPDATE data_keys SET wrapped = '' WHERE originator_id = 'tally/a'")
    faults = [fault async for fault in key_faults(log, Vault(MASTER_KEY))]
    assert [fault and str(fault) for fault in faults] == [
        "keys: tally/a: it was destroyed, and no event says that its content was erased",
        None,
    ]
    assert ("event 10 of tally/a", "has sealed content, and its stream has no data key") in (
        await find_faults(database, log)
    )


async def test_key_that_exists_although_its_content_was_erased_is_a_fault(
    log: Store, database: str
) -> None:
    change(database, "CREATE TABLE kept AS SELECT * FROM data_keys")
    await erase(database)
    change(
        database,
        """UPDATE data_keys AS k SET wrapped = kept.wrapped FROM kept
            WHERE kept.originator_id = k.originator_id""",
    )
    assert await find_faults(database, log) == [("event 11 of tally/a", log_checks.STILL_THERE)]


async def test_events_written_after_the_end_was_read_are_ignored(log: Store) -> None:
    ends = await log_checks.ends(log)
    await log.keys(["tally/a"])
    await write(log, ("tally/a", 11, TallyNoted(note="later")))
    assert await log_checks.order_faults(log, 0, ends.end, ends.end) == []
