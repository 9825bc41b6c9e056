"""A change of the log, its tiles or its head is found, even one by the owner of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from api.embedded_postgres.server import EmbeddedPostgres
from domain.integrity.fault import Fault
from projections.audit.check import (
    NotCovered,
    earlier_fault,
    former_log,
    head_faults,
    start,
    tree_faults,
)
from projections.audit.note import Signer
from tests.support.audited_log import SECRET, AuditedLog
from tests.support.databases import new_database

pytestmark = pytest.mark.anyio
SIZE = 1_000


@pytest.fixture(scope="module")
async def template(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> AsyncIterator[str]:
    """The name of a database with events in a tree; each test gets a copy."""
    with new_database(admin) as name:
        async with AuditedLog.opened(postgres.conninfo(name)) as made:
            await made.append(SIZE)
            await made.grow()
        yield name


@pytest.fixture
async def audited(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template: str
) -> AsyncIterator[AuditedLog]:
    with new_database(admin, template=template) as name:
        async with AuditedLog.opened(postgres.conninfo(name)) as opened:
            yield opened


async def faults(audited: AuditedLog, public_key: str | None = None) -> list[str]:
    """The location and the description of each fault."""
    key = public_key or (await audited.signer()).public_key
    found = await start(audited.connection)
    reached: list[tuple[int, int]] = []
    checked = tree_faults(audited.connection, found, lambda *both: reached.append(both))
    all_faults = [*head_faults(found, key), *[fault async for fault in checked]]
    if found.head is not None and found.head.size:
        assert reached[-1] == (found.head.size, found.head.size)
    return [f"{fault.place}: {fault.what}" for fault in all_faults]


async def test_unchanged_log_has_no_faults(audited: AuditedLog) -> None:
    assert await faults(audited) == []
    await audited.append(24)  # not in the tree yet
    assert await faults(audited) == []
    await audited.grow()
    assert await faults(audited) == []
    await audited.append(66_000 - 1_024)
    await audited.grow()
    assert await faults(audited) == []


SWAP = """UPDATE events SET notification_id = 1000000 WHERE notification_id = 300;
    UPDATE events SET notification_id = 300 WHERE notification_id = 301;
    UPDATE events SET notification_id = 301 WHERE notification_id = 1000000"""
CHANGED = "the event is not the one that was signed"
GONE = "the event that was signed is not there"
EVENTS = {
    "UPDATE events SET state = set_byte(state, 3, 0) WHERE notification_id = 1": (1, CHANGED),
    "UPDATE events SET meta = meta || ' ' WHERE notification_id = 256": (256, CHANGED),
    "UPDATE events SET topic = 'user.created' WHERE notification_id = 257": (257, CHANGED),
    "UPDATE events SET at = at + interval '1 us' WHERE notification_id IN (700, 701)": (
        700,
        CHANGED,
    ),
    "UPDATE events SET at = 'infinity' WHERE notification_id = 900": (900, CHANGED),
    "UPDATE events SET originator_id = 'user/x' WHERE notification_id = 999": (999, CHANGED),
    "UPDATE events SET originator_version = 9 WHERE notification_id = 1000": (1000, CHANGED),
    SWAP: (300, CHANGED),
    "DELETE FROM events WHERE notification_id = 512": (512, GONE),
    "DELETE FROM events WHERE notification_id = 1000": (1000, GONE),
    "DELETE FROM events WHERE notification_id BETWEEN 257 AND 512": (257, GONE),
    """DELETE FROM events WHERE notification_id = 400;
        UPDATE events SET notification_id = notification_id + 1000000 WHERE notification_id > 400;
        UPDATE events SET notification_id = notification_id - 1000001 WHERE notification_id > 400""": (
        400,
        CHANGED,
    ),
    """UPDATE events SET notification_id = notification_id + 1000001 WHERE notification_id > 400;
        UPDATE events SET notification_id = notification_id - 1000000 WHERE notification_id > 400;
        INSERT INTO events VALUES (401, 1, now(), 'user/new', 'user.created', '{}', '{}')""": (
        401,
        CHANGED,
    ),
}


@pytest.mark.parametrize("statement", EVENTS)
async def test_first_changed_event_is_named(audited: AuditedLog, statement: str) -> None:
    await audited.tamper(statement)
    position, what = EVENTS[statement]
    found = await faults(audited)
    assert found[0] == f"position {position}: {what}"
    assert all("the event" in fault for fault in found), found


TILES = {
    "UPDATE audit_tiles SET hashes = set_byte(hashes, 77, get_byte(hashes, 77) # 1) WHERE index = 1": "tile 0/1",
    "UPDATE audit_tiles SET hashes = substr(hashes, 33) WHERE level = 0 AND index = 0": "tile 0/0",
    "UPDATE audit_tiles SET hashes = '' WHERE level = 0 AND index = 2": "tile 0/2",
    "DELETE FROM audit_tiles WHERE level = 0 AND index = 2": "tile 0/2",
    "UPDATE audit_tiles SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE level = 1": "tile 1/0",
    "DELETE FROM audit_tiles WHERE level = 1": "tile 1/0",
    "UPDATE audit_tiles SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1) WHERE index = 3": "tile 0/3",
    "INSERT INTO audit_tiles VALUES (0, 4, sha256('')), (2, 0, sha256(''))": "tile 0/4",
    "INSERT INTO audit_tiles VALUES (9, 0, sha256(''))": "tile 9/0",
}


@pytest.mark.parametrize("statement", TILES)
async def test_changed_tile_is_named(audited: AuditedLog, statement: str) -> None:
    await audited.tamper(statement)
    found = await faults(audited)
    named = [fault.partition(":")[0] for fault in found]
    assert TILES[statement] in named, found
    assert not [place for place in named if place.startswith("position")]


HEADS = {
    "UPDATE audit_head SET root = sha256('x')": "says something else than was signed: 1000",
    "UPDATE audit_head SET size = 999": "says something else than was signed: 1000",
    "UPDATE audit_head SET note = replace(note, '1000', '1001')": "is not signed by the key",
    "UPDATE audit_head SET origin = 'executions/x'": "is of executions/x, another log",
    "UPDATE head SET log_id = 'restored'": "another log",
    "DELETE FROM audit_head": "there is no signed head",
    "UPDATE audit_head SET fault = 'why'": "has stopped to grow: why",
    "DELETE FROM events WHERE notification_id > 500; UPDATE head SET position = 500": (
        "position 501: the log ends here, but 1000 events were signed"
    ),
}


@pytest.mark.parametrize("statement", HEADS)
async def test_wrong_head_is_named(audited: AuditedLog, statement: str) -> None:
    key = (await audited.signer()).public_key
    await audited.tamper(statement)
    found = await faults(audited, key)
    assert HEADS[statement] in "\n".join(found)


async def test_head_signed_by_another_key_is_named(audited: AuditedLog) -> None:
    forger = audited.new_builder(audited.conninfo, b"x" * 32)
    await audited.tamper("UPDATE events SET meta = '{}' WHERE notification_id = 7")
    await audited.tamper("DELETE FROM audit_tiles; UPDATE audit_head SET size = 0, origin = ''")
    await audited.grow(forger)
    [fault] = await faults(audited)
    assert fault.startswith("head: is not signed by the key of the log")


async def test_saved_head_shows_what_the_database_alone_cannot(audited: AuditedLog) -> None:
    """Events, tiles and head were restored together, and signed again by the key of the log."""
    signer = await audited.signer()
    kept = await audited.head()
    await audited.append(200)
    later = await audited.grow()

    async def find_faults(note: str, key: str = signer.public_key) -> str:
        fault = await earlier_fault(audited.connection, await start(audited.connection), note, key)
        return "" if fault is None else fault.what

    assert [await find_faults(head.note) for head in (kept, later)] == ["", ""]
    assert "another key" in await find_faults(kept.note, Signer(SECRET, "x").public_key)
    await audited.tamper(
        "DELETE FROM events WHERE notification_id > 900; UPDATE head SET position = 900"
    )
    await audited.tamper("DELETE FROM audit_tiles; UPDATE audit_head SET size = 0, origin = ''")
    await audited.grow(audited.new_builder(audited.conninfo))
    assert await faults(audited) == []
    assert await find_faults(kept.note) == "has 1000 events, but the log goes back to 900"
    await audited.append(300)
    await audited.tamper("UPDATE events SET meta = '{}' WHERE notification_id = 7")
    await audited.tamper("DELETE FROM audit_tiles; UPDATE audit_head SET size = 0, origin = ''")
    await audited.grow(audited.new_builder(audited.conninfo))
    assert await faults(audited) == []
    assert await find_faults(kept.note) == "the first 1000 events are not those it was signed for"


async def test_kept_head_beyond_the_tree_is_a_fault_only_if_it_is_beyond_the_log(
    audited: AuditedLog,
) -> None:
    """After a restore the tree begins again: for a while it has fewer events than the log."""
    signer = await audited.signer()
    await audited.append(200)
    kept = await audited.grow()
    builder = audited.new_builder(audited.conninfo)
    await audited.tamper("DELETE FROM audit_tiles; UPDATE audit_head SET size = 0, origin = ''")
    await audited.tamper("UPDATE head SET position = 1100")
    await audited.grow(builder)

    async def find_fault() -> Fault | None:
        found = await start(audited.connection)
        return await earlier_fault(audited.connection, found, kept.note, signer.public_key)

    fault = await find_fault()
    assert fault is not None
    assert fault.what == "has 1200 events, but the log goes back to 1100"
    await audited.tamper("UPDATE head SET position = 1200")
    with pytest.raises(NotCovered, match="has 1200 events, but the tree has only 1100 so far"):
        await find_fault()
    await audited.grow(builder)
    assert await find_fault() is None


async def test_head_of_before_a_restore_is_told_from_a_forged_one(audited: AuditedLog) -> None:
    former = await audited.signer()
    assert former_log(await start(audited.connection), former.public_key) is None
    await audited.tamper("UPDATE head SET log_id = gen_random_uuid()")
    found = await start(audited.connection)
    before = former_log(found, former.public_key)
    assert before is not None
    assert list(head_faults(before, former.public_key)) == []
    assert former_log(found, Signer(SECRET, "x").public_key) is None
    await audited.tamper("UPDATE audit_head SET root = sha256('x')")
    assert former_log(await start(audited.connection), former.public_key) is None


async def test_empty_log_has_no_faults(database: str) -> None:
    async with AuditedLog.opened(database) as audited:
        assert await faults(audited) == ["head: there is no signed head"]
        await audited.grow()
        assert await faults(audited) == []
