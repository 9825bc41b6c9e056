"""Checks the access log: every entry and its hash, the anchors that cover them, and the end of the chain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.access.entry import BEFORE_ALL, EPOCH, Access, chain_hash, entry_bytes
from domain.integrity.fault import Fault
from projections.audit.access.anchors import (
    Anchor,
    anchor_behind,
    anchor_of,
    anchors_after,
    latest_anchor,
)
from projections.audit.access.retired import Retired, read_retired
from projections.audit.access.segments import AccessSegment

PART = "access log"
PAGE, ANCHORS = 5_000, 500
"""Entries and anchors that are read at a time."""
HEAD = "SELECT id, at, hash FROM access_head"
NEXT = """SELECT id, at, hash, actor, credential, operation, executions, address, purpose, correlation, detail
    FROM access_log WHERE id > %b AND id <= %b ORDER BY id LIMIT %b"""
ANY = "SELECT EXISTS (SELECT FROM access_log WHERE id >= %s AND id < %s)"
SURPLUS = "SELECT min(id) FROM access_log WHERE id < 1 OR id > %b"
OnProgress = Callable[[int, int], None]
"""Called with the entry reached and the entry to reach."""


class End(NamedTuple):
    """The end of the chain and the number of its anchors when the check began. Later entries are not checked."""

    id: int
    at: datetime
    hash: bytes
    anchors: int


async def end_of(connection: AsyncConnection) -> End | None:
    """Return the present end of the chain; None if its row is lost."""
    # The anchor is read first, so that the chain reaches at least as far.
    latest = await latest_anchor(connection)
    row = await (await connection.execute(HEAD, binary=True)).fetchone()
    return (
        None if row is None else End(row[0], row[1], bytes(row[2]), latest.version if latest else 0)
    )


async def access_faults(
    connection: AsyncConnection, end: End | None, on_progress: OnProgress
) -> AsyncIterator[Fault]:
    """Yield the faults of the access log up to `end`. Entries may be retired during the check.

    After a fault, the chain continues with the stored hash of the entry, so that one fault does not lead to others. After
    retired entries, it continues with the hash that the event of their retirement has.
    """
    if end is None:
        yield Fault(PART, "head", "the row `access_head` is lost")
        return
    check = _Check(connection, end)
    async for fault in check.entries(on_progress):
        yield fault
    async for fault in check.check_end():
        yield fault


async def faults_between(
    connection: AsyncConnection, first: int, last: int, before: bytes
) -> AsyncIterator[Fault]:
    """Yield the faults of the entries from `first` to `last`, none of which was retired. `before` is the hash of the entry
    before the first.

    Raises:
        LookupError: an anchor is missing.
    """
    anchor = await anchor_of(connection, first)
    latest = await latest_anchor(connection)
    end = End(last, EPOCH, b"", 0 if latest is None else latest.version)
    check = _Check(connection, end, crosses_gaps=False)
    check.begin(first - 1, before, end.anchors if anchor is None else anchor.version - 1)
    async for fault in check.entries(lambda *_: None):
        yield fault


class _Check:
    def __init__(self, connection: AsyncConnection, end: End, *, crosses_gaps: bool = True) -> None:
        self._connection = connection
        self._end = end
        self._crosses_gaps = crosses_gaps
        self._retired: list[Retired] = []
        """The retirements that were read so far, in the order of the entries."""
        self._reached = 0
        self._hash: bytes | None = BEFORE_ALL
        """The hash of the entry that was reached; None if that entry is missing."""
        self._latest: datetime | None = None
        """The time of the entry that was reached; None if that entry was retired."""
        self._day = date.min
        """The day of the entry that was reached, even if it was retired."""
        self._anchors: list[Anchor] = []
        self._anchor: Anchor | None = None
        """The last anchor that was reached."""
        self._version = 0
        self._segment: list[bytes] = []
        self._anchor_is_partial = False
        """Whether some entries of the next anchor were retired, so that its root cannot be computed."""

    def begin(self, reached: int, hashed: bytes, version: int) -> None:
        """Begin after an entry, and after the anchor with this version."""
        self._reached, self._hash, self._version = reached, hashed, version
        self._anchor_is_partial = True  # the next anchor may begin before that entry

    async def entries(self, on_progress: OnProgress) -> AsyncIterator[Fault]:
        end = self._end
        while self._reached < end.id:
            values = (self._reached, end.id, PAGE)
            cursor = await self._connection.execute(NEXT, values, binary=True)
            rows = await cursor.fetchall()
            if not rows:
                async for fault in self._pass_over(end.id):
                    yield fault
            for number, at, hashed, *texts in rows:
                if number > self._reached + 1:
                    async for fault in self._pass_over(number - 1):
                        yield fault
                for fault in self._check_entry(number, at, bytes(hashed), texts):
                    yield fault
                async for fault in self._check_anchors(number, bytes(hashed)):
                    yield fault
            on_progress(self._reached, end.id)

    async def _pass_over(self, until: int) -> AsyncIterator[Fault]:
        """Pass over entries that are not stored, because they were retired or are missing; yield the faults of both."""
        while self._reached < until:
            first = self._reached + 1
            if (retired := await self._find_retired(first, until)) is not None:
                async for fault in self._check_retired(retired):
                    yield fault
                self._reached, self._hash = retired.last, retired.hash
            else:
                later = [each.first for each in self._retired if first < each.first <= until]
                self._reached, self._hash = min(later, default=until + 1) - 1, None
                yield _missing(first, self._reached)

    async def _find_retired(self, first: int, until: int) -> Retired | None:
        """Return the retirement that covers the entry `first` and ends by `until`, if there is one. It may have happened
        during the check, after entries before `first` were checked.
        """
        found = self._find_known(first)
        if (found is None or found.last > until) and self._crosses_gaps:
            known = max((each.version for each in self._retired), default=0)
            self._retired += await read_retired(self._connection, known)
            self._retired.sort(key=lambda retired: retired.first)
            found = self._find_known(first)
        if found is None or found.last > until:
            return None
        return None if found.first < first and await self._has_any(found.first, first) else found

    async def _has_any(self, first: int, before: int) -> bool:
        [(found,)] = await (await self._connection.execute(ANY, (first, before))).fetchall()
        return bool(found)

    def _find_known(self, entry: int) -> Retired | None:
        index = bisect_right(self._retired, entry, key=lambda retired: retired.first) - 1
        found = self._retired[index] if index >= 0 else None
        return found if found is not None and entry <= found.last else None

    async def _check_retired(self, retired: Retired) -> AsyncIterator[Fault]:
        """Check that retired entries fit into the chain, are those of a whole day, and agree with the anchors."""
        at = f"were retired at position {retired.position}"
        is_whole = retired.first == self._reached + 1
        if is_whole and self._hash is not None and retired.before != self._hash:
            yield Fault(PART, retired.place, f"{at} behind another hash than is there")
        if retired.day <= self._day if is_whole else retired.day != self._day:
            what = f"{at} as those of {retired.day}, behind entries of {self._day}"
            yield Fault(PART, retired.place, what)
        async for fault in self._check_retired_anchors(retired, at):
            yield fault
        self._segment, self._latest, self._day = [], None, retired.day

    async def _check_retired_anchors(self, retired: Retired, at: str) -> AsyncIterator[Fault]:
        """Check the age, the day and the last hash of retired entries against the anchors, which cannot be added later."""
        reached = self._anchor
        found = [reached] if reached is not None and reached.last >= retired.first else []
        while (anchor := await self._next_anchor()) is not None and anchor.first <= retired.last:
            found += [anchor] if anchor.last >= retired.first else []
            if anchor.last > retired.last:
                break
            for fault in self._take(anchor):
                yield fault
            if anchor.last == retired.last and anchor.hash != retired.hash:
                yield _other(anchor, f"{at} with another last hash")
        self._anchor_is_partial = bool(found) and found[-1].last > retired.last
        behind = await anchor_behind(self._connection, retired.position)
        for why in retired.misfits(found, behind):
            yield Fault(PART, retired.place, f"{at} {why}")

    def _check_entry(
        self, number: int, at: datetime, hashed: bytes, texts: Sequence[Any]
    ) -> Iterator[Fault]:
        place = f"entry {number}"
        if number == self._reached:
            yield Fault(PART, place, "is there twice")
            return
        access = Access._make((*texts[:3], tuple(texts[3]), *texts[4:]))
        before = self._hash
        if before is not None and hashed != chain_hash(before, entry_bytes(number, at, access)):
            yield Fault(PART, place, "is not what was recorded: its hash is another")
        if self._latest is not None and at < self._latest:
            yield Fault(PART, place, "is earlier than the one before it")
        if self._latest is None and at.date() <= self._day:
            yield Fault(
                PART, place, f"is of {at.date()}, and those of {self._day} before it were retired"
            )
        self._reached, self._hash, self._latest, self._day = number, hashed, at, at.date()

    async def _check_anchors(self, number: int, hashed: bytes) -> AsyncIterator[Fault]:
        """Check the anchors up to an entry against the stored entries."""
        if await self._next_anchor() is not None:
            self._segment.append(hashed)
        while (anchor := await self._next_anchor()) is not None and anchor.last <= number:
            for fault in self._take(anchor):
                yield fault
            whole = len(self._segment) == number - anchor.first + 1
            if anchor.last != number or not (whole or self._anchor_is_partial):
                yield _other(anchor, "are not all there")
            elif anchor.day not in (None, self._day):
                yield _other(anchor, f"are of {self._day}: others")
            elif anchor.hash != hashed:
                yield _other(anchor, "are others: the last one has another hash")
            elif whole and AccessSegment(self._segment).root != anchor.root:
                yield _other(anchor, "are others: they have another root")
            self._segment, self._anchor_is_partial = [], False

    async def _next_anchor(self) -> Anchor | None:
        if not self._anchors:
            self._anchors = await anchors_after(self._connection, self._version, ANCHORS)
            if self._anchors:
                self._version = self._anchors[-1].version
        first = self._anchors[0] if self._anchors else None
        return first if first is not None and first.version <= self._end.anchors else None

    def _take(self, anchor: Anchor) -> Iterator[Fault]:
        """Take the next anchor as reached; yield a fault if it is earlier than the one before."""
        self._anchors.pop(0)
        if self._anchor is not None and anchor.at < self._anchor.at:
            place = f"entries {anchor.first} to {anchor.last}"
            what = f"were anchored at position {anchor.position}, before those in front of them"
            yield Fault(PART, place, what)
        self._anchor = anchor

    async def check_end(self) -> AsyncIterator[Fault]:
        end = self._end
        if self._hash != end.hash:
            yield Fault(PART, f"entry {end.id}", "is not the last one: the head has another hash")
        elif self._latest is not None and self._latest != end.at:
            yield Fault(PART, "head", "has another time than the last entry")
        while (anchor := await self._next_anchor()) is not None:
            for fault in self._take(anchor):
                yield fault
            yield Fault(
                PART,
                f"entry {max(end.id + 1, anchor.first)}",
                f"is not there: {anchor.last} entries were anchored at position {anchor.position}",
            )
        row = await (await self._connection.execute(SURPLUS, (end.id,))).fetchone()
        if row is not None and row[0] is not None and row[0] < 1:
            yield Fault(PART, f"entry {row[0]}", "belongs to no chain")


def _missing(first: int, last: int) -> Fault:
    more = "" if first == last else f", nor are those up to {last}"
    return Fault(PART, f"entry {first}", f"is not there{more}")


def _other(anchor: Anchor, what: str) -> Fault:
    place = f"entries {anchor.first} to {anchor.last}"
    return Fault(PART, place, f"{what} than were anchored at position {anchor.position}")
