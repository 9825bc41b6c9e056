"""Checks everything stored of one execution: its events against each other and against the tree, and its snapshot and
rows against its events.

Snapshots and rows are read before the events, so the events go at least as far.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from domain.damage import reason
from domain.errors import Damaged
from domain.eventlog.archive.archived_queries import Versions, fetch_of_streams
from domain.eventlog.codec import Codec, EventRow
from domain.eventlog.encryption import DamagedKey, DataKey
from domain.eventlog.queries import FORWARDS, NEWEST
from domain.eventlog.state_parts import PAGE_BYTES as FOLLOWING_BYTES
from domain.eventlog.state_parts import apply_events, read_following
from domain.eventlog.store import Store
from domain.integrity.fault import Fault
from domain.model import Versioned
from projections.audit.leaf import leaf_bytes
from projections.audit.merkle import leaf_hash
from projections.audit.note import BadNote, TreeCheckpoint, checkpoint_of
from projections.audit.proofs import root_of_inclusion
from projections.audit.reader import TreeReader
from projections.audit.tables import TreeHead
from projections.executions.check import ExpectedRows, StoredExecution, read_stored
from projections.executions.projection import Executions
from projections.executions.references import STREAM

PAGE, PAGE_BYTES = 50, 4 * 1024 * 1024
"""Events of a stream, and bytes of them, that are read at a time."""
LOG, TREE, KEYS, SNAPSHOTS = "log", "audit", "keys", "snapshots"


Pace = Callable[[int], Awaitable[None]]
"""Awaited with the number of events just checked: a pause, for checks that run in the background."""


class HistoryVerification(NamedTuple):
    """The result for an execution: the number of its events, how many of them were proven against the signed head, the
    version of its row and the position of the view, and the faults.

    `unknown`: an event has a type that this program does not know; the events after it were not applied.
    """

    id: str
    events: int
    position: int
    proven: int
    head: TreeHead | None
    view_version: int
    view_position: int
    faults: list[Fault]
    unknown: bool = False


class HistoryCheck:
    """Verifies executions. `public_key` is the key of the log that signs tree heads.

    Without a tree, no leaves are checked, and neither are data keys and snapshots: sealed content is not opened, and
    snapshots, whose content is sealed anew, cannot be compared without that. `pace` is used by `faults_of`.
    """

    def __init__(
        self,
        store: Store,
        view: Executions,
        tree: TreeReader | None = None,
        public_key: str = "",
        *,
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._view = view
        self._tree = tree
        self._public_key = public_key
        self._pace = pace

    async def verify(self, id_: str) -> HistoryVerification | None:
        """Verify an execution; return None if nothing is stored of it.

        Raises:
            Overloaded: the database is unavailable.
        """
        stream = STREAM + id_
        async with self._store.reader() as connection:
            [stored] = (await read_stored(connection, self._view, [id_])).values()
        head = key = served = None
        if self._tree is not None:
            key = (await self._store.keys([stream]))[stream]
            served = await self._load_as_served(stream) if key is not None else None
            head = await self._tree.head()
        check = _Check(self._store.codec, stored, head, key, served)
        check.check_head(self._public_key)
        async for rows in _pages(self._store, stream):
            await check.take(rows, self._tree)
        check.finish()
        if not check.events and not stored.rows:
            return None
        return HistoryVerification(
            *(id_, check.events, check.last.position if check.last else 0, check.proven, head),
            *(stored.version, stored.position, check.faults, check.unknown),
        )

    async def faults_of(self, ids: Sequence[str]) -> list[Fault]:
        """Return the faults of several executions, which are read together. The tree is not checked.

        Raises:
            Overloaded: the database is unavailable.
        """
        async with self._store.reader() as connection:
            found = await read_stored(connection, self._view, ids)
        codec = self._store.codec
        checks = {STREAM + id_: _Check(codec, found[id_], None, None, None) for id_ in ids}
        versions = dict.fromkeys(checks, 0)
        while versions:
            async with self._store.reader() as connection:
                pages = await read_following(connection, versions.items(), PAGE)
            versions = {}
            for (stream, _), rows in pages.items():
                await checks[stream].take(rows, None)
                if _may_have_more(rows):
                    versions[stream] = rows[-1].version
            if self._pace is not None:
                await self._pace(sum(map(len, pages.values())))
        for check in checks.values():
            check.finish()
        return [fault for check in checks.values() for fault in check.faults]

    async def _load_as_served(self, stream: str) -> Versioned[Any] | None:
        """Return the state as readers get it, with the help of snapshots; None if it cannot be read.

        Not called if the data key was destroyed: then the sealed content of snapshots is in no event.
        """
        try:
            return await self._store.load(stream)
        except Damaged:
            return None


class _Check:
    """The check of one execution: takes its events in order, and collects faults."""

    def __init__(
        self,
        codec: Codec,
        stored: StoredExecution,
        head: TreeHead | None,
        key: DataKey | None,
        served: Versioned[Any] | None,
    ) -> None:
        self.events = self.proven = 0
        self.last: EventRow | None = None
        self.faults: list[Fault] = []
        self.unknown = False
        self._codec = codec
        self._stored = stored
        self._head = head
        self._key = key
        self._served = served
        self._can_fold = True
        self._folded: Versioned[Any] | None = None
        self._expected = ExpectedRows()
        self._first_unapplied: EventRow | None = None
        """The first event that the stored row of the view does not include."""
        if isinstance(key, DamagedKey):
            self._add(KEYS, STREAM + stored.id, "the data key cannot be unwrapped")

    def check_head(self, public_key: str) -> None:
        """Check that the head is signed by the key of the log, and that its stored size and root are the signed ones."""
        if not (head := self._head) or not head.origin:
            return
        try:
            signed = checkpoint_of(head.note, public_key)
        except BadNote as error:
            self._add(TREE, "head", f"is not signed by the key of the log: {error}")
        else:
            if signed != TreeCheckpoint(head.origin, head.size, head.root):
                self._add(TREE, "head", "says something else than was signed")

    async def take(self, rows: Sequence[EventRow], tree: TreeReader | None) -> None:
        """Check the next events: their proofs, their order, and the states that follow from them."""
        if tree is not None and (head := self._head):
            await self._prove([row for row in rows if row.position <= head.size], tree, head)
        for row in rows:
            self._check_order(row)
            self.events, self.last = self.events + 1, row
            if self._can_fold:
                self._fold(row)
            await asyncio.sleep(0)

    def finish(self) -> None:
        """Check that the row of the view includes all events up to the view's position, and has the expected values."""
        if not self._can_fold or not self._stored.readable:
            return
        stored, version = self._stored, self._folded.version if self._folded else 0
        if stored.version > version:
            what = f"is at version {stored.version}, and the events end at {version}"
            self._add(Executions.name, STREAM + stored.id, what, None, "version")
        elif self._first_unapplied and self._first_unapplied.position <= stored.position:
            what = f"is at version {stored.version}, although the view is at {stored.position}"
            place = STREAM + stored.id
            self._add(Executions.name, place, what, self._first_unapplied.position, "version")
        else:
            self.faults += self._expected.faults(stored)

    def _check_order(self, row: EventRow) -> None:
        version = self.last.version if self.last else 0
        if row.version != version + 1:
            what = f"follows on version {version}: what was between them is missing"
            self._add(LOG, _name(row), what, row.position, "version")
        if self.last and row.position <= self.last.position:
            self._add(LOG, _name(row), "has an earlier position", row.position, "position")
        if self.last and row.at < self.last.at:
            self._add(LOG, _name(row), "has an earlier time", row.position, "time")

    async def _prove(self, rows: Sequence[EventRow], tree: TreeReader, head: TreeHead) -> None:
        """Check that each event is the leaf that the signed tree has at its position."""
        if not rows:
            return
        size, root = head.size, head.root
        try:
            proofs = await tree.inclusions([row.position for row in rows], size)
        except Damaged as error:
            self._add(TREE, "tiles", str(error.members.get("reason", error)), rows[0].position)
            return
        for row, proof in zip(rows, proofs, strict=True):
            hashed = leaf_hash(leaf_bytes(row))
            if hashed != proof.leaf_hash:
                self._add(TREE, _name(row), "is not the one that was signed", row.position, "leaf")
            elif root_of_inclusion(row.position - 1, size, hashed, proof.path) != root:
                what = "does not lead to the root that was signed"
                self._add(TREE, _name(row), what, row.position, "path")
            else:
                self.proven += 1

    def _fold(self, row: EventRow) -> None:
        self.unknown = not self._codec.knows(row.type)
        self._can_fold = not self.unknown
        if self.unknown:
            return
        try:
            recorded = self._codec.decode(row, self._key)
            self._folded = apply_events(self._folded, [recorded])
            if row.version <= self._stored.version:
                closed = recorded if self._key is None else self._codec.decode(row)
                self._expected.advance(closed)
        except Exception as error:  # noqa: BLE001 - events can always be applied, so this one was changed
            known = error.members.get("reason", "") if isinstance(error, Damaged) else ""
            cause = known or reason(error)
            self._can_fold = False
            self._add(LOG, _name(row), f"cannot be applied: {cause}", row.position)
            return
        if self._first_unapplied is None and row.version > self._stored.version:
            self._first_unapplied = row
        self._compare_served(row)

    def _compare_served(self, row: EventRow) -> None:
        served, folded = self._served, self._folded
        if not (served and folded) or served.version != row.version or served.state == folded.state:
            return
        what = f"the state at version {row.version} is not what the events say"
        self._add(SNAPSHOTS, row.stream, what, row.position, "state")

    def _add(
        self,
        part: str,
        place: str,
        what: str,
        position: int | None = None,
        member: str | None = None,
    ) -> None:
        self.faults.append(Fault(part, place, what, position, member))


def _name(row: EventRow) -> str:
    return f"event {row.version} of {row.stream}"


def _may_have_more(rows: Sequence[EventRow]) -> bool:
    """Whether the stream may have more events after a page: the page was full, by number or by bytes."""
    return len(rows) == PAGE or sum(len(row.data) for row in rows) >= FOLLOWING_BYTES


async def _pages(store: Store, stream: str) -> AsyncIterator[list[EventRow]]:
    """Yield the events of a stream, page by page."""
    after, more = 0, True
    while more:
        async with store.reader() as connection:
            values = (stream, after, NEWEST, None, None, PAGE, PAGE_BYTES)
            bounds = {stream: Versions(after, after + PAGE)}
            found = await fetch_of_streams(connection, FORWARDS, values, [stream], versions=bounds)
        if rows := [EventRow(*columns) for _, *columns in found]:
            yield rows
            after = rows[-1].version
        more = bool(found) and (found[0][0] == PAGE or len(found) < found[0][0])
