"""The reads of one execution, each with its proof up to an anchor in the log."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.access.entry import Access, AccessEntry
from projections.audit.access.anchors import Anchor, anchor_at, anchor_of
from projections.audit.access.pages import AccessCursor, AccessRange, access_page
from projections.audit.access.past_events import BEYOND
from projections.audit.access.retired import hash_before, read_retired
from projections.audit.access.segments import AccessSegment, hashes_between

MOST_READS, MOST_ANCHORS = 5_000, 300
"""The newest ones that are proven."""
OF_MANY = frozenset(
    {
        *("listExecutions", "findExecutions", "exportExecutions", "exportDocuments"),
        *("inbox", "readTrail", "readDeliveries"),
    }
)
"""Operations that show whichever executions meet what was asked for: that may name others, too."""


class ProvenRead(NamedTuple):
    """A recorded read, the hash before it, the path from it to the root of its anchor, and which one of the anchors
    that is.
    """

    entry: AccessEntry
    before: bytes
    path: list[bytes]
    anchor: int


class ProvenReads(NamedTuple):
    """Reads in their order, and the positions of the anchors that they lead to."""

    anchors: list[int]
    reads: list[ProvenRead]


async def proven_reads(
    connection: AsyncConnection, execution: str, head: int, party: str | None
) -> ProvenReads:
    """The reads of an execution as far as the first `head` events anchor them; for a `party`, by its name, without
    those that showed other executions, too, or by which others have asked for some with a filter.

    Raises:
        LookupError: the access log has holes where nothing was retired.
    """
    last = await anchor_at(connection, head)
    found = ProvenReads([], [])
    if last is None:
        return found
    begin = AccessCursor(BEYOND, last.last + 1)
    page = await access_page(connection, AccessRange(execution), begin, MOST_READS, descending=True)
    segments: list[tuple[Anchor, list[AccessEntry]]] = []
    for item in page.items:
        if not isinstance(item, AccessEntry) or not _is_for(party, item.access):
            continue
        if not segments or item.id < segments[-1][0].first:
            anchor = await anchor_of(connection, item.id)
            if anchor is None or len(segments) == MOST_ANCHORS:
                break
            segments.append((anchor, []))
        segments[-1][1].append(item)
    for anchor, entries in reversed(segments):
        try:
            reads = await _proven(connection, anchor, entries[::-1], len(found.anchors))
        except LookupError:
            if not await _is_retired(connection, anchor):
                raise
        else:
            found.anchors.append(anchor.position)
            found.reads.extend(reads)
    return found


def _is_for(party: str | None, access: Access) -> bool:
    """Whether a bundle may have an entry, which is whole there."""
    if party is None:
        return True
    if len(access.executions) > 1:
        return False
    return access.actor == party or access.operation not in OF_MANY


async def _is_retired(connection: AsyncConnection, anchor: Anchor) -> bool:
    """Whether entries of an anchor were retired, perhaps just now: then it proves the others no more."""
    retired = await read_retired(connection)
    return any(each.first <= anchor.last and anchor.first <= each.last for each in retired)


async def _proven(
    connection: AsyncConnection, anchor: Anchor, entries: list[AccessEntry], number: int
) -> list[ProvenRead]:
    own = await hashes_between(connection, anchor.first - 1, anchor.last)
    before = [await hash_before(connection, anchor.first), *own]
    segment = await asyncio.to_thread(AccessSegment, own)
    return [
        ProvenRead(entry, before[index], segment.path(index), number)
        for entry in entries
        for index in (entry.id - anchor.first,)
    ]
