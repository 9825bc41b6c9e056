"""The check finds any byte of an event, a tile or the head that a superuser flips."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from projections.audit.check import head_faults, start, tree_faults
from projections.audit.tiles import WIDTH, tiles_of
from tests.support.audited_log import AuditedLog, event

pytestmark = pytest.mark.anyio
SIZE, ROW = 520, 300
BYTES = """UPDATE {table} SET {column} = set_byte({column}, {at}, get_byte({column}, {at}) # 1)
    WHERE {where}"""
LETTER = """UPDATE {table} SET {column} = overlay({column} placing
    chr(ascii(substr({column}, {at} + 1, 1)) # 1) from {at} + 1 for 1) WHERE {where}"""
OTHER_LETTER = LETTER.replace("# 1)", "# 64)")  # the next byte may name another stream
NUMBER = "UPDATE {table} SET {column} = {column} # {at} WHERE {where}"


@pytest.fixture
async def audited(database: str) -> AsyncIterator[AuditedLog]:
    async with AuditedLog.opened(database) as opened:
        await opened.append(SIZE)
        await opened.grow()
        yield opened


async def find_faults(audited: AuditedLog, key: str) -> list[str]:
    begun = await start(audited.connection)
    checked = tree_faults(audited.connection, begun, lambda *_: None)
    return [fault.place for fault in (*head_faults(begun, key), *[each async for each in checked])]


async def require_noticed(audited: AuditedLog, flips: Iterator[tuple[str, str]]) -> None:
    """Check that each flip is found at its location, and that nothing is found once it is undone."""
    key = (await audited.signer()).public_key
    for statement, place in flips:
        await audited.tamper(statement)
        assert place in await find_faults(audited, key), statement
        await audited.tamper(statement)
    assert await find_faults(audited, key) == []


def flips_of(form: str, table: str, column: str, where: str, length: int) -> Iterator[str]:
    for at in range(length):
        yield form.format(table=table, column=column, where=where, at=at)


async def test_every_flipped_byte_of_an_event_is_found(audited: AuditedLog) -> None:
    row, where = event(ROW), f"notification_id = {ROW}"
    flips = [
        *flips_of(BYTES, "events", "state", where, len(row.data)),
        *flips_of(LETTER, "events", "meta", where, len(row.meta)),
        *flips_of(LETTER, "events", "topic", where, len(row.type)),
        *flips_of(OTHER_LETTER, "events", "originator_id", where, len(row.stream)),
        *(
            NUMBER.format(table="events", column="originator_version", where=where, at=1 << bit)
            for bit in range(4, 40, 7)
        ),
    ]
    await require_noticed(audited, ((flip, f"position {ROW}") for flip in flips))


async def test_every_flipped_hash_of_every_tile_is_found(audited: AuditedLog) -> None:
    """One byte of each hash, at an offset that varies."""
    tiles = {(0, index): WIDTH for index in range(SIZE // WIDTH)} | dict(tiles_of(SIZE))
    step = 33 * 7
    flips = [
        (BYTES.format(table="audit_tiles", column="hashes", where=where, at=at), place)
        for (level, index), hashes in tiles.items()
        for where in (f"level = {level} AND index = {index}",)
        for place in (f"tile {level}/{index}",)
        for at in range(0, 32 * hashes, step if hashes == WIDTH else 33)
    ]
    assert len(flips) > 70
    await require_noticed(audited, iter(flips))


async def test_every_flipped_byte_of_the_head_is_found(audited: AuditedLog) -> None:
    head = await audited.head()
    flips = [
        *flips_of(BYTES, "audit_head", "root", "true", 32),
        *flips_of(LETTER, "audit_head", "origin", "true", len(head.origin)),
        NUMBER.format(table="audit_head", column="size", where="true", at=1),
        *(
            LETTER.format(table="audit_head", column="note", where="true", at=at)
            for at, letter in enumerate(head.note)
            if at % 4 == 0 and letter not in "\n—"
        ),
    ]
    await require_noticed(audited, ((flip, "head") for flip in flips))
