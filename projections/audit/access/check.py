"""Holds the access log against itself and against its anchors: every entry, every hash, the head of the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.access.entry import BEFORE_ALL, Access, chained, entry_bytes
from domain.integrity.fault import Fault
from projections.audit.access.anchors import Anchor, anchors_after, latest_anchor
from projections.audit.access.segments import Segment

PART = "access log"
PAGE, ANCHORS = 5_000, 500
HEAD = "SELECT id, at, hash FROM access_head"
NEXT = """SELECT id, at, hash, actor, credential, operation, executions, address, purpose, correlation, detail
    FROM access_log WHERE id > %b AND id <= %b ORDER BY id LIMIT %b"""
SURPLUS = "SELECT min(id) FROM access_log WHERE id < 1 OR id > %b"
OnProgress = Callable[[int, int], None]
"""Is called with the entry reached and the entry to reach."""


class End(NamedTuple):
    """The end of the chain as it was when the check began, and the number of its anchors: what is added meanwhile
    is not looked at.
    """

    id: int
    at: datetime
    hash: bytes
    anchors: int


async def end_of(connection: AsyncConnection) -> End | None:
    """The end of the chain; None where its row is lost."""
    latest = await latest_anchor(connection)  # first: the chain goes at least as far
    row = await (await connection.execute(HEAD, binary=True)).fetchone()
    return (
        None if row is None else End(row[0], row[1], bytes(row[2]), latest.version if latest else 0)
    )


async def access_faults(
    connection: AsyncConnection, end: End | None, on_progress: OnProgress
) -> AsyncIterator[Fault]:
    """What is wrong. After the first entry that does not fit nothing is said of the next ones but what their own
    bytes say: the chain goes on with the hash that is stored.
    """
    if end is None:
        yield Fault(PART, "head", "the row `access_head` is lost")
        return
    check = _Check(connection, end)
    async for fault in check.entries(on_progress):
        yield fault
    async for fault in check.rest():
        yield fault


class _Check:
    def __init__(self, connection: AsyncConnection, end: End) -> None:
        self._connection = connection
        self._end = end
        self._reached, self._hash = 0, BEFORE_ALL
        self._latest: datetime | None = None
        self._anchors: list[Anchor] = []
        self._version = 0
        self._segment: list[bytes] = []

    async def entries(self, on_progress: OnProgress) -> AsyncIterator[Fault]:
        end = self._end
        while self._reached < end.id:
            values = (self._reached, end.id, PAGE)
            cursor = await self._connection.execute(NEXT, values, binary=True)
            rows = await cursor.fetchall()
            if not rows:
                yield _missing(self._reached + 1, end.id)
                self._reached = end.id
            for number, at, hashed, *texts in rows:
                for fault in self._looked_at(number, at, bytes(hashed), texts):
                    yield fault
                async for fault in self._anchored(number, bytes(hashed)):
                    yield fault
            on_progress(self._reached, end.id)

    def _looked_at(
        self, number: int, at: datetime, hashed: bytes, texts: Sequence[Any]
    ) -> Iterator[Fault]:
        place = f"entry {number}"
        if number == self._reached:
            yield Fault(PART, place, "is there twice")
            return
        if number > self._reached + 1:
            yield _missing(self._reached + 1, number - 1)
        access = Access._make((*texts[:3], tuple(texts[3]), *texts[4:]))
        follows = number == self._reached + 1
        if follows and hashed != chained(self._hash, entry_bytes(number, at, access)):
            yield Fault(PART, place, "is not what was recorded: its hash is another")
        if self._latest is not None and at < self._latest:
            yield Fault(PART, place, "is earlier than the one before it")
        self._reached, self._hash, self._latest = number, hashed, at

    async def _anchored(self, number: int, hashed: bytes) -> AsyncIterator[Fault]:
        """The anchors up to an entry say what is stored."""
        if await self._next_anchor() is not None:
            self._segment.append(hashed)
        while (anchor := await self._next_anchor()) is not None and anchor.last <= number:
            self._anchors.pop(0)
            whole = anchor.last == number and len(self._segment) == number - anchor.first + 1
            if not whole:
                yield _other(anchor, "are not all there")
            elif anchor.hash != hashed:
                yield _other(anchor, "are others: the last one has another hash")
            elif Segment(self._segment).root != anchor.root:
                yield _other(anchor, "are others: they have another root")
            self._segment = []

    async def _next_anchor(self) -> Anchor | None:
        if not self._anchors:
            self._anchors = await anchors_after(self._connection, self._version, ANCHORS)
            if self._anchors:
                self._version = self._anchors[-1].version
        first = self._anchors[0] if self._anchors else None
        return first if first is not None and first.version <= self._end.anchors else None

    async def rest(self) -> AsyncIterator[Fault]:
        end = self._end
        if self._hash != end.hash:
            yield Fault(PART, f"entry {end.id}", "is not the last one: the head has another hash")
        elif self._latest is not None and self._latest != end.at:
            yield Fault(PART, "head", "has another time than the last entry")
        while (anchor := await self._next_anchor()) is not None:
            self._anchors.pop(0)
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
