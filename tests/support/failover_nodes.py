"""A model of three PostgreSQL nodes, of which one leads: commits wait for a standby before they become visible."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

from domain.eventlog.connection.log_head import Head, LastSeen

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIRST_ID = "log 0"


class Fault(StrEnum):
    """Faults that may be planted."""

    UNGUARDED = "an append that has not moved the head is acknowledged"
    ASYNCHRONOUS = "a commit waits for no standby"
    LAGGING = "the standby that lags is promoted"
    SAME_ID = "a log that went back keeps its id"


class Command(NamedTuple):
    number: int
    has_key: bool


NEW_ID = Command(0, has_key=False)


class Record(NamedTuple):
    """An event, or with the command `NEW_ID` another id of the log."""

    position: int
    at: datetime
    log_id: str
    command: Command


Transaction = tuple[Record, ...]


@dataclass(eq=False)
class Node:
    """Its transactions, the number of visible ones, and callbacks for when a standby has the last one."""

    name: str
    wal: list[Transaction] = field(default_factory=list)
    shown: int = 0
    waiting: Callable[[], None] | None = None

    @property
    def events(self) -> list[Record]:
        records = chain.from_iterable(self.wal[: self.shown])
        return [record for record in records if record.command != NEW_ID]

    def now(self) -> Head:
        """The end of the log, seen or not."""
        return Head(*self.wal[self.shown - 1][-1][:3]) if self.shown else Head(0, None, FIRST_ID)

    def has(self, seen: LastSeen) -> bool:
        """Whether the log still contains a position seen before."""
        there = {(event.position, event.at) for event in self.events}
        return seen.position == 0 or (seen.position, seen.at) in there

    def show_all(self) -> None:
        """Make everything visible: a standby has it, the connection broke, or the node leads again."""
        self.shown, self.waiting = len(self.wal), None


class Nodes:
    """`end_sessions` is called with a node that has lost its connections."""

    def __init__(self, faults: frozenset[Fault], end_sessions: Callable[[Node], None]) -> None:
        self.faults, self.end_sessions = faults, end_sessions
        self.all = [Node(name) for name in "abc"]
        self.primary: Node | None = self.all[0]
        self.last_primary = self.all[0]
        self.voters = self.all[1:]
        """The standbys that commits may wait for: those that have had everything since the primary leads."""
        self.away: set[Node] = set()
        """Former primaries that are dead, or isolated with the servers connected to them."""

    @property
    def standbys(self) -> list[Node]:
        return [node for node in self.all if node is not self.primary and node not in self.away]

    def are_safe(self, records: Iterable[Record]) -> bool:
        """Whether a standby that commits may wait for has them."""
        kept = [set(chain.from_iterable(standby.wal)) for standby in self.voters]
        return any(there.issuperset(records) for there in kept)

    def replicate(self, standby: Node, most: int) -> None:
        """A standby receives WAL; it first rolls back transactions of another timeline."""
        if (primary := self.primary) is None or standby not in self.standbys:
            return
        pairs = zip(standby.wal, primary.wal, strict=False)
        same = next((n for n, (own, its) in enumerate(pairs) if own != its), None)
        if same is None:
            same = min(len(standby.wal), len(primary.wal))
        standby.wal[same:] = primary.wal[same : same + most]
        if len(standby.wal) == len(primary.wal):
            if standby not in self.voters:
                self.voters.append(standby)
            self.commit(primary)

    def commit(self, node: Node) -> None:
        """Transactions that waited are on enough nodes."""
        waiting = node.waiting
        node.show_all()
        if waiting:
            waiting()

    def fail(self, *, dies: bool) -> None:
        """The primary dies, or is isolated with the servers connected to it."""
        if (node := self.primary) is None:
            return
        self.primary = None
        self.away.add(node)
        if dies:
            self.end_sessions(node)

    def promote(self) -> None:
        """Promote the most advanced standby of those that a commit may have waited for."""
        if self.primary is None and self.voters:
            choose = min if Fault.LAGGING in self.faults else max
            self._lead(choose(self.voters, key=lambda node: len(node.wal)))

    def come_back(self, node: Node) -> None:
        """A former primary becomes a standby; if no other may lead, it leads again."""
        alone = self.primary is None and not self.voters and node is self.last_primary
        if node in self.away and (self.primary or alone):
            self.end_sessions(node)
            self.away.discard(node)
            if alone:
                self._lead(node)

    def switch_over(self) -> None:
        """A planned switchover: a standby that has everything leads."""
        if (former := self.primary) is None:
            return
        ready = [node for node in self.voters if len(node.wal) == len(former.wal)]
        if ready:
            self.end_sessions(former)
            self._lead(ready[0])

    def _lead(self, node: Node) -> None:
        node.show_all()
        self.primary = self.last_primary = node
        self.voters = [other for other in self.standbys if other.wal == node.wal]
