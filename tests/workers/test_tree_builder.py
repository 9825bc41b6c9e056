"""The tree grows with the log, in whole pages, and only if the new events follow its head."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog
from psycopg import AsyncConnection

from projections.audit import merkle
from projections.audit.leaf import leaf_bytes
from projections.audit.note import TreeCheckpoint, checkpoint_of
from projections.audit.tables import tiles_of_tree
from projections.audit.tiles import hashes_of
from tests.support.audited_log import SCHEMA, AuditedLog, event
from workers import tree_builder
from workers.ownership import ownership
from workers.tree_builder import TreeBuilder, TreeFault

pytestmark = pytest.mark.anyio


@pytest.fixture
async def audited(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AuditedLog]:
    monkeypatch.setattr(tree_builder, "PAGE", 100)
    async with AuditedLog.opened(database) as opened:
        yield opened


def root_of(size: int) -> bytes:
    hashes = [merkle.leaf_hash(leaf_bytes(event(n))) for n in range(1, size + 1)]

    def node(place: merkle.Node) -> bytes:
        level, index = place
        return merkle.join(hashes[index << level : index + 1 << level])

    return merkle.root(size, node)


async def test_head_of_an_empty_log_is_signed(audited: AuditedLog) -> None:
    head = await audited.grow()
    signer = await audited.signer()
    assert (head.size, head.root, head.origin) == (0, merkle.EMPTY_ROOT, signer.origin)
    assert checkpoint_of(head.note, signer.public_key) == TreeCheckpoint(
        signer.origin, 0, merkle.EMPTY_ROOT
    )


async def test_tree_equals_that_of_the_stored_rows_whatever_the_pages(
    audited: AuditedLog,
) -> None:
    signer, size = await audited.signer(), 0
    for number in (1, 254, 1, 1, 99, 300):
        await audited.append(number)
        size += number
        head = await audited.grow(None if number > 1 else audited.new_builder(audited.conninfo))
        assert (head.size, head.root) == (size, root_of(size))
        assert checkpoint_of(head.note, head.public_key) == head[2:3] + head[:2]
        assert head.public_key == signer.public_key
    tiles = await tiles_of_tree(audited.connection, [(0, 0), (0, 1), (0, 2), (1, 0)])
    assert [len(hashes_of(tile)) for tile in tiles.values()] == [256, 256, 144, 2]


async def test_idle_check_writes_nothing(audited: AuditedLog) -> None:
    await audited.append(3)
    await audited.grow()
    query = "SELECT xmin::text FROM audit_head"
    before = await audited.rows(query)
    await audited.grow()
    await audited.grow(audited.new_builder(audited.conninfo))
    assert await audited.rows(query) == before


FAULTS = {
    "the log ends at 5, but 300 events were signed": "UPDATE head SET position = 5",
    "the last tiles are not": "UPDATE audit_tiles SET hashes = substr(hashes, 33) WHERE index = 1",
    "the last tiles are": "DELETE FROM audit_tiles",
    "have another root": "UPDATE audit_tiles SET hashes = set_byte(hashes, 40, 255) WHERE index = 1",
    "not signed by this log: the signature": "UPDATE audit_head SET note = replace(note, '300', '299')",
    "the note is not": "UPDATE audit_head SET note = rtrim(note, chr(10))",
    "the head is another than was signed": "UPDATE audit_head SET root = sha256('x')",
    "is another than was signed": "UPDATE audit_head SET size = 44, root = {root}",
    "row of the signed head is lost": "DELETE FROM audit_head",
    "there are tiles, but the head": "UPDATE audit_head SET origin = ''",
    "the row `head` of the log is lost": "DELETE FROM head",
}
PAST = {
    "the log has no event at position 302": "DELETE FROM events WHERE notification_id = 302",
    "the log has no event at position 301": "DELETE FROM events WHERE notification_id > 300",
}


@pytest.mark.parametrize("reason", [*FAULTS, *PAST])
async def test_tree_stops_at_an_inconsistency_and_writes_nothing(
    audited: AuditedLog, reason: str
) -> None:
    await audited.append(300)
    await audited.grow()
    if reason in PAST:
        await audited.append(3)
    statement = FAULTS.get(reason) or PAST[reason]
    if "{root}" in statement:  # tiles and root of a smaller tree, without its note
        await audited.tamper("DELETE FROM audit_tiles WHERE index = 1 OR level = 1")
        tile = "UPDATE audit_tiles SET hashes = substr(hashes, 1, 44 * 32)"
        await audited.tamper(tile)
        statement = statement.format(root=f"'\\x{root_of(44).hex()}'")
    await audited.tamper(statement)
    stored = "SELECT level, index, hashes FROM audit_tiles ORDER BY 1, 2"
    kept = "SELECT size, root, note FROM audit_head"
    before = await audited.rows(stored), await audited.rows(kept)
    with pytest.raises(TreeFault, match=reason):
        await audited.grow(audited.new_builder(audited.conninfo))
    assert (await audited.rows(stored), await audited.rows(kept)) == before


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE head SET position = 5", "the log ends at 5"),
        ("UPDATE audit_head SET root = sha256('x')", "have another root"),
        ("DELETE FROM audit_head", "the row of the signed head is lost"),
    ],
)
async def test_restarted_builder_notices_the_inconsistency_too(
    audited: AuditedLog, statement: str, reason: str
) -> None:
    await audited.append(300)
    await audited.grow()
    await audited.tamper(statement)
    with pytest.raises(TreeFault, match=reason):
        await audited.grow()


async def test_tree_of_another_secret_is_not_continued(audited: AuditedLog) -> None:
    await audited.append(3)
    await audited.grow()
    with pytest.raises(TreeFault, match="another key"):
        await audited.grow(audited.new_builder(audited.conninfo, b"x" * 32))


async def test_log_with_a_new_id_begins_a_new_tree(audited: AuditedLog) -> None:
    await audited.append(600)
    first = await audited.grow()
    await audited.tamper("DELETE FROM events WHERE notification_id > 10")
    await audited.tamper("UPDATE head SET position = 10, log_id = 'another'")
    head = await audited.grow()
    assert (head.size, head.root, head.origin) == (10, root_of(10), "executions/another")
    assert head.public_key != first.public_key
    assert await audited.rows("SELECT level, index FROM audit_tiles") == [(0, 0)]


async def test_running_builder_logs_once_why_it_stopped_and_continues_after_the_repair(
    audited: AuditedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ownership.POLL_INTERVAL", 0.05)
    monkeypatch.setattr(tree_builder, "GATHERS", 0.01)
    monkeypatch.setattr(tree_builder, "STOPPED", 0.01)
    await audited.append(300)
    with structlog.testing.capture_logs() as lines:
        audited.builder.start()
        try:
            await wait_for_tree(audited, size=300, fault=False)
            await audited.tamper("UPDATE head SET position = 5")
            await wait_for_tree(audited, size=300, fault=True)
            await asyncio.sleep(0.1)
            assert "the log ends at 5" in str((await audited.head()).fault)
            await audited.tamper("UPDATE head SET position = 300")
            await wait_for_tree(audited, size=300, fault=False)
            await audited.append(1)
            await wait_for_tree(audited, size=301, fault=False)
        finally:
            await audited.builder.stop()
    errors = [line["event"] for line in lines if line["log_level"] == "error"]
    assert errors == ["the tree of the log has stopped to grow"]


async def test_idle_check_is_one_query(
    audited: AuditedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ownership.POLL_INTERVAL", 0.05)
    monkeypatch.setattr(tree_builder, "GATHERS", 0.01)
    await audited.append(3)
    grown: list[int] = []
    grow = TreeBuilder.grow

    async def count_call(self: TreeBuilder, connection: AsyncConnection) -> bool:
        grown.append(1)
        return await grow(self, connection)

    monkeypatch.setattr(TreeBuilder, "grow", count_call)
    audited.builder.start()
    try:
        await wait_for_tree(audited, size=3, fault=False)
        before = len(grown)
        await asyncio.sleep(0.2)
        assert len(grown) == before
        await audited.append(1)
        await wait_for_tree(audited, size=4, fault=False)
    finally:
        await audited.builder.stop()


async def test_builder_waits_while_another_process_builds(
    audited: AuditedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_builder, "GATHERS", 0.01)
    await audited.append(3)
    async with ownership(audited.conninfo, SCHEMA, "audit"):
        audited.builder.start()
        await asyncio.sleep(0.3)
        assert (await audited.head()).size == 0
    try:
        await wait_for_tree(audited, size=3, fault=False)
    finally:
        await audited.builder.stop()


async def wait_for_tree(audited: AuditedLog, *, size: int, fault: bool) -> None:
    async with asyncio.timeout(30):
        while True:
            head = await audited.head()
            if (head.size, head.fault is not None) == (size, fault):
                return
            await asyncio.sleep(0.02)
