"""Reads the recorded reads of one execution, each with a proof that leads to an anchor in the log."""

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
"""The newest reads, and the anchors that cover them, that are proven at most."""
OF_MANY = frozenset(
    {
        *("listExecutions", "findExecutions", "exportExecutions", "exportDocuments"),
        *("inbox", "readTrail", "readDeliveries"),
    }
)
"""Operations that show all executions that meet a filter. The recorded filter may name executions of other parties."""


class ProvenRead(NamedTuple):
    """A recorded read, the hash of the entry before it, the path from it to the root of its anchor, and the index of the
    anchor in `ProvenReads.anchors`.
    """

    entry: AccessEntry
    before: bytes
    path: list[bytes]
    anchor: int


class ProvenReads(NamedTuple):
    """Proven reads in order, and the positions of their anchors."""

    anchors: list[int]
    reads: list[ProvenRead]


async def proven_reads(
    connection: AsyncConnection, execution: str, head: int, party: str | None
) -> ProvenReads:
    """Return the reads of an execution that anchors among the first `head` events cover.

    For a `party`, reads are left out that also showed other executions, and reads of other actors by a filter, because an
    entry is shown as a whole and may name executions of others.

    Raises:
        LookupError: entries of the access log are missing that were not retired.
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
    """Whether a bundle for a party may have an entry, which is shown there as a whole."""
    if party is None:
        return True
    if len(access.executions) > 1:
        return False
    return access.actor == party or access.operation not in OF_MANY


async def _is_retired(connection: AsyncConnection, anchor: Anchor) -> bool:
    """Whether entries of an anchor were retired, perhaps just now: then its other entries cannot be proven any more."""
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
