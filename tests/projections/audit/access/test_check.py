"""Changes that a superuser makes in the access log are found, and the first wrong entry is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from projections.audit.access import check
from projections.audit.access.anchors import anchor_of, anchors_after, latest_anchor
from projections.audit.access.check import access_faults, end_of
from projections.audit.access.retired import Retired, read_retired
from tests.support.access_chain import AccessChain
from tests.support.past_reads import PastReads
from workers import access_retirement

pytestmark = pytest.mark.anyio


@pytest.fixture
async def chain(database: str) -> AsyncIterator[AccessChain]:
    """Ten entries: three anchored together, then four, then three not anchored yet."""
    async with AccessChain.opened(database) as opened:
        for number in (3, 4):
            await opened.read(number)
            await opened.anchor()
        await opened.read(3)
        yield opened


async def test_unchanged_access_log_has_no_fault(chain: AccessChain) -> None:
    assert await chain.faults() == []
    await chain.anchor()
    assert await chain.faults() == []


async def test_empty_access_log_has_no_fault(database: str) -> None:
    async with AccessChain.opened(database) as opened:
        assert await opened.faults() == []


CHANGED = "entry 5: is not what was recorded"
CHANGES = {
    "UPDATE access_log SET actor = 'bob' WHERE id = 5": CHANGED,
    "UPDATE access_log SET credential = 'key-2' WHERE id = 5": CHANGED,
    "UPDATE access_log SET operation = 'readResult' WHERE id = 5": CHANGED,
    "UPDATE access_log SET executions = '{e-2}' WHERE id = 5": CHANGED,
    "UPDATE access_log SET address = '::1' WHERE id = 5": CHANGED,
    "UPDATE access_log SET purpose = 'none' WHERE id = 5": CHANGED,
    "UPDATE access_log SET correlation = 'x' WHERE id = 5": CHANGED,
    "UPDATE access_log SET detail = '{}' WHERE id = 5": CHANGED,
    "UPDATE access_log SET at = at + interval '1 ms' WHERE id = 5": CHANGED,
    "UPDATE access_log SET hash = sha256('x') WHERE id = 5": CHANGED,
    "DELETE FROM access_log WHERE id = 5": "entry 5: is not there",
    "DELETE FROM access_log WHERE id < 3": "entry 1: is not there, nor are those up to 2",
    "DELETE FROM access_log": "entry 1: is not there, nor are those up to 10",
    "DELETE FROM access_log WHERE id > 9": "entry 10: is not there",
    "INSERT INTO access_log SELECT * FROM access_log WHERE id = 5": "entry 5: is there twice",
    "UPDATE access_log SET id = 11 - id WHERE id IN (5, 6)": CHANGED,
    "UPDATE access_head SET hash = sha256('x')": "entry 10: is not the last one",
    "DELETE FROM access_head": "head: the row `access_head` is lost",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_change_of_the_access_log_is_named(chain: AccessChain, change: str) -> None:
    await chain.change(change)
    faults = await chain.faults()
    assert faults
    assert faults[0].startswith(f"access log: {CHANGES[change]}"), faults


async def test_deleted_newest_entries_are_named_by_their_anchor(
    chain: AccessChain,
) -> None:
    """The chain and its head are cut back, but the anchor still has the entries."""
    await chain.change("DELETE FROM access_log WHERE id > 6")
    await chain.change(
        """UPDATE access_head
            SET (id, at, hash) = (SELECT id, at, hash FROM access_log WHERE id = 6)"""
    )
    (fault,) = await chain.faults()
    assert fault.startswith(
        "access log: entry 7: is not there: 7 entries were anchored at position"
    )


async def test_recomputed_chain_does_not_match_its_anchors(
    chain: AccessChain,
) -> None:
    """A superuser can recompute the chain, but not the anchored hashes."""
    async with AccessChain.opened(chain.conninfo) as other:
        await other.change("TRUNCATE access_log")
        await other.change("UPDATE access_head SET id = 0, at = 'epoch', hash = ''")
    async with AccessChain.opened(chain.conninfo) as forger:
        await forger.read(10, "e-2")
        faults = await forger.faults()
    assert faults[0].startswith("access log: entries 1 to 3: are others")


async def test_entries_added_during_the_check_are_no_fault(chain: AccessChain) -> None:
    end = await end_of(chain.connection)
    await chain.read(2)
    await chain.anchor()
    found = access_faults(chain.connection, end, lambda *_: None)
    assert [fault async for fault in found] == []


async def test_anchor_of_an_entry_is_found_by_binary_search(chain: AccessChain) -> None:
    for number in (1, 1, 5, 2, 9):
        await chain.read(number)
        await chain.anchor()
    latest = await latest_anchor(chain.connection)
    assert latest is not None
    for entry in range(1, latest.last + 1):
        anchor = await anchor_of(chain.connection, entry)
        assert anchor is not None
        assert anchor.first <= entry <= anchor.last
    assert await anchor_of(chain.connection, latest.last + 1) is None


@pytest.fixture
async def reads(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastReads]:
    """Entries 1 to 3 on the first day, 4 and 5 on the second."""
    async with PastReads.opened(database_with_views, tmp_path) as opened:
        await opened.days("e-1 e-2 e-1", "e-1 e-2")
        yield opened


async def test_day_that_is_retired_after_the_retirements_were_read_is_no_fault(
    reads: PastReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read again when the check reaches a gap."""
    await reads.retire(29)
    asked: list[int] = []

    async def retire_then_read(connection: AsyncConnection, version: int = 0) -> list[Retired]:
        found = await read_retired(connection, version)
        asked.append(version)
        if len(asked) == 1:
            await reads.retire(10)
        return found

    monkeypatch.setattr(check, "PAGE", 1)
    monkeypatch.setattr(check, "read_retired", retire_then_read)
    assert await reads.faults() == []
    assert asked == [0, 1]
    assert await reads.ids() == []


async def test_day_that_is_retired_while_its_entries_are_checked_is_no_fault(
    reads: PastReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page ends within the day."""
    done = False

    async def retire_then_read(*what: Any) -> Any:
        nonlocal done
        if not done:
            done = True
            await reads.retire(29)
        return await anchors_after(*what)

    monkeypatch.setattr(check, "PAGE", 2)
    monkeypatch.setattr(check, "anchors_after", retire_then_read)
    assert await reads.faults() == []
    assert await reads.ids() == [4, 5]


async def test_entry_missing_from_a_retired_day_that_is_still_in_the_table_is_a_fault(
    reads: PastReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_retirement, "RETIRE_DAY", "SELECT missing(%s)")
    await reads.retire(29)
    assert len(await reads.retired()) == 1
    assert await reads.faults() == []
    await reads.change("DELETE FROM access_log WHERE id = 3")
    assert (await reads.faults())[0] == "access log: entry 3: is not there"
