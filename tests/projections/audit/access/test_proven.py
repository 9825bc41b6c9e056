"""Reads are proven by anchors whose entries all exist, even while days are retired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from projections.audit.access import proven
from projections.audit.access.proven import proven_reads
from projections.audit.access.segments import hashes_between
from tests.support.past_reads import PastReads
from workers import access_retirement

pytestmark = pytest.mark.anyio
FOR_ALL = 2**40
"""A position after all anchors."""


async def find_proven_ids(reads: PastReads) -> list[int]:
    found = await proven_reads(reads.past.connection, "e-1", FOR_ALL, None)
    return [read.entry.id for read in found.reads]


async def test_reads_of_a_day_that_is_retired_meanwhile_are_left_out(
    database_with_views: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = False
    async with PastReads.opened(database_with_views, tmp_path) as reads:
        await reads.days("e-1 e-2", "e-1", "e-2 e-1")

        async def retire_then_read(*what: Any) -> list[bytes]:
            nonlocal done
            if not done:
                done = True
                await reads.retire(28)
            return await hashes_between(*what)

        monkeypatch.setattr(proven, "hashes_between", retire_then_read)
        assert await find_proven_ids(reads) == [3, 5]
        assert await reads.ids() == [3, 4, 5]
        await reads.change("DELETE FROM access_log WHERE id = 4")
        with pytest.raises(LookupError, match="no entry 4"):
            await find_proven_ids(reads)


async def test_reads_of_a_retired_day_that_is_still_in_the_table_are_proven(
    database_with_views: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_retirement, "RETIRE_DAY", "SELECT missing(%s)")
    async with PastReads.opened(database_with_views, tmp_path) as reads:
        await reads.days("e-1 e-2", "e-1")
        await reads.retire(29)
        assert len(await reads.retired()) == 1
        assert await find_proven_ids(reads) == [1, 3]
