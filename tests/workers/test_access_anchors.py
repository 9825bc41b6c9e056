"""The access log is anchored in each minute with new entries, and never over missing ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from domain.access.anchors import STREAM
from projections.audit import merkle
from projections.audit.access import segments
from projections.audit.access.anchors import Anchor, anchors_after
from projections.audit.access.segments import AccessSegment, hashes_between
from projections.audit.proofs import root_of_inclusion
from tests.support.access_chain import AccessChain
from workers import access_anchors

pytestmark = pytest.mark.anyio


@pytest.fixture
async def chain(database: str) -> AsyncIterator[AccessChain]:
    async with AccessChain.opened(database) as opened:
        yield opened


async def anchors(chain: AccessChain) -> list[Anchor]:
    return await anchors_after(chain.connection, 0, 1_000)


async def test_minute_with_reads_is_anchored(chain: AccessChain) -> None:
    await chain.read(3)
    assert not await chain.anchorer.anchor(chain.connection)
    assert await anchors(chain) == []  # the minute is not over
    await chain.anchor()
    await chain.read(2)
    await chain.anchor()
    one, two = await anchors(chain)
    hashes = await hashes_between(chain.connection, 0, 5)
    assert (one.first, one.last, one.hash) == (1, 3, hashes[2])
    assert (two.first, two.last, two.hash) == (4, 5, hashes[4])
    assert one.root == AccessSegment(hashes[:3]).root


async def test_minute_without_reads_leaves_no_event(chain: AccessChain) -> None:
    await chain.anchor()
    await chain.read(1)
    for _ in range(3):
        await chain.anchor()
    assert len(await anchors(chain)) == 1


async def test_many_reads_are_anchored_in_parts_at_once(
    chain: AccessChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_anchors, "MOST", 100)
    await chain.read_together(250)
    while await chain.anchorer.anchor(chain.connection):
        pass
    assert [(each.first, each.last) for each in await anchors(chain)] == [(1, 100), (101, 200)]
    await chain.anchor()
    assert (await anchors(chain))[-1].last == 250
    assert segments.MOST > 100


async def test_missing_entries_are_not_anchored(chain: AccessChain) -> None:
    await chain.read(5)
    await chain.change("DELETE FROM access_log WHERE id = 3")
    with pytest.raises(LookupError, match="no entry 3"):
        await chain.anchor()
    assert await anchors(chain) == []


async def test_shortened_chain_is_not_anchored(chain: AccessChain) -> None:
    await chain.read(5)
    await chain.anchor()
    await chain.change("UPDATE access_head SET id = 4")
    with pytest.raises(LookupError, match="5 entries were anchored, but the last one is 4"):
        await chain.anchor()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9])
async def test_path_of_an_entry_leads_to_the_root_of_its_anchor(
    chain: AccessChain, size: int
) -> None:
    await chain.read(size)
    await chain.anchor()
    (anchor,) = await anchors(chain)
    hashes = await hashes_between(chain.connection, 0, size)
    segment = AccessSegment(hashes)
    for index, hashed in enumerate(hashes):
        leaf = merkle.leaf_hash(hashed)
        assert root_of_inclusion(index, size, leaf, segment.path(index)) == anchor.root


async def test_anchors_are_events_of_one_stream(chain: AccessChain) -> None:
    await chain.read(1)
    await chain.anchor()
    (event,) = await chain.store.history(STREAM)
    assert (event.type, event.version) == ("access.anchored", 1)
