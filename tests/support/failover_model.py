"""A model of two servers, their clients and consumers, on three nodes: what is acknowledged, lost and read when nodes fail.

It models docs/high-availability.md, not the product, except that servers use the product's own record of the log
(`LastSeen`, `StateCache`). An append has no lock: it is an optimistic one, or one whose lock was lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

from domain.eventlog.connection.log_head import LastSeen
from domain.writer.state_cache import StateCache
from tests.support.failover_nodes import (
    FIRST_ID,
    NEW_ID,
    NOON,
    Command,
    Fault,
    Node,
    Nodes,
    Record,
    Transaction,
)
from tests.support.sample_aggregate import keyring


@dataclass(eq=False)
class Batch:
    """A group commit, on the node and in the session where it began."""

    server: Server
    node: Node
    session: int
    position: int
    commands: list[Command]
    written: Transaction = ()


class Server:
    """The knowledge of a server. `lost` is a batch whose connection broke when it was written."""

    def __init__(self) -> None:
        self.queue: list[Command] = []
        self.node: Node | None = None
        self.session = 0
        self.batch: Batch | None = None
        self.lost: Batch | None = None
        self.begin_again(FIRST_ID)

    def begin_again(self, log_id: str) -> None:
        self.of_log, self.seen = log_id, LastSeen()
        self.known = StateCache(keyring(), self.seen)


@dataclass(eq=False)
class Consumer:
    """The events that a consumer has of the log with an id."""

    log_id: str = ""
    events: list[Record] = field(default_factory=list)


class Cluster:
    """`acknowledged` has the log id and position of each answered command."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = frozenset(faults)
        self.nodes = Nodes(self.faults, self.end_sessions)
        self.servers = [Server(), Server()]
        self.consumers = [Consumer(), Consumer()]
        self.acknowledged: dict[Command, tuple[str, int]] = {}
        self.refused: list[Command] = []
        self.unknown: list[Command] = []
        self._next = partial(next, count(1))

    def end_sessions(self, node: Node) -> None:
        for server in self.servers:
            if server.node is node:
                self.cut(server)

    def send(self, server: Server, *, has_key: bool) -> None:
        server.queue.append(Command(self._next(), has_key))

    def send_again(self, server: Server) -> None:
        """Send refused commands again; with a key also unanswered ones."""
        server.queue += self.refused + [command for command in self.unknown if command.has_key]
        self.refused, self.unknown = [], []

    def begin(self, server: Server) -> None:
        """Read the head and the replies of keys, once the outcome of the previous batch is known."""
        self._find_out(server)
        if server.batch or server.lost or not server.queue:
            return
        if (node := self._connected(server)) is None:
            return
        commands, server.queue = list(dict.fromkeys(server.queue)), []
        recorded = {event.command: event for event in node.events}
        for command in commands:
            # Before a standby has it, a reply is not safe: the guide says so.
            if command in recorded and not self._answer(node, (recorded[command],)):
                self.unknown.append(command)
        head, fresh = node.now(), [command for command in commands if command not in recorded]
        place = SimpleNamespace(session=server.session, position=head.position, at=head.at)
        server.known.begin(cast(Any, place))
        if fresh:
            server.batch = Batch(server, node, server.session, head.position, fresh)

    def write(self, server: Server) -> None:
        """UPDATE head ... WHERE position = that of the batch, and the inserts that follow."""
        if (batch := server.batch) is None or batch.written:
            return
        if server.node is None or server.session != batch.session:
            self._refuse(batch)
            return
        node = batch.node
        if node.waiting:
            return  # the row of the head is locked
        recorded = {event.command for event in node.events}
        moved = node.now().position == batch.position
        if recorded.intersection(batch.commands) or not (moved or Fault.UNGUARDED in self.faults):
            server.queue, server.batch = batch.commands + server.queue, None  # `HeadMoved`
            return
        at = NOON + timedelta(seconds=self._next())
        of_log, commands = node.now().log_id, enumerate(batch.commands, batch.position + 1)
        batch.written = tuple(Record(place, at, of_log, command) for place, command in commands)
        if not moved:
            self._committed(batch)
            return
        node.wal.append(batch.written)
        node.waiting = partial(self._committed, batch)
        if Fault.ASYNCHRONOUS in self.faults:
            self.nodes.commit(node)

    def cut(self, server: Server) -> None:
        """The connection breaks. A waiting commit then becomes visible, although no standby may have it."""
        server.node, batch = None, server.batch
        if batch is None or not batch.written:
            return
        batch.node.show_all()
        server.batch, server.lost = None, batch
        self.unknown += batch.commands

    def look(self, server: Server) -> bool:
        """Whether the log is the one that the server has served; as `Tail` checks."""
        if (node := self._connected(server)) is None:
            return False
        head = node.now()
        if not node.has(server.seen) or head.log_id != server.of_log:
            return self._other_log(server)
        server.seen.note(head.position, head.at or NOON)
        return True

    def read(self, consumer: Consumer, server: Server, most: int) -> None:
        """Read the next page. A consumer with the id of another log gets 410, and begins again."""
        if not self.look(server) or server.node is None:
            return
        if consumer.log_id != server.of_log:
            consumer.log_id, consumer.events = server.of_log, []
        after = consumer.events[-1].position if consumer.events else 0
        following = [event for event in server.node.events if event.position > after]
        consumer.events += following[:most]

    def _connected(self, server: Server) -> Node | None:
        if server.node is None and self.nodes.primary is not None:
            server.node = self.nodes.primary
            server.session += 1
        return server.node

    def _find_out(self, server: Server) -> None:
        """Whether a commit was written whose connection broke."""
        if (lost := server.lost) is None or (primary := self.nodes.primary) is None:
            return
        if lost.written not in primary.wal[: primary.shown]:
            self._refuse(lost)
        elif self._answer(primary, lost.written):
            server.lost = None

    def _other_log(self, server: Server) -> bool:
        """As `other_log`, on a new connection."""
        if (primary := self.nodes.primary) is None:
            return False
        lost = not primary.has(server.seen)
        if lost and primary.now().log_id == server.of_log and not self._renew(primary):
            return False
        self.cut(server)
        if lost or primary.now().log_id != server.of_log:
            server.begin_again(primary.now().log_id)
        return False

    def _renew(self, primary: Node) -> bool:
        """Whether the log has another id now, and a standby has it, too."""
        if Fault.SAME_ID in self.faults:
            return True
        if primary.waiting or not (standbys := self.nodes.standbys):
            return False
        position, at, _ = primary.now()
        primary.wal.append((Record(position, at or NOON, f"log {self._next()}", NEW_ID),))
        self.nodes.replicate(standbys[0], len(primary.wal))
        return True

    def _answer(self, node: Node, records: Transaction) -> bool:
        """Acknowledge commands that were recorded before, if it is safe."""
        if node is not self.nodes.primary or not self.nodes.are_safe(records):
            return False
        self._acknowledge(records)
        return True

    def _committed(self, batch: Batch) -> None:
        server, last = batch.server, batch.written[-1]
        if server.batch is batch:
            self._acknowledge(batch.written)
            server.known.remember({}, last.position, last.at)
            server.batch = None

    def _acknowledge(self, records: Transaction) -> None:
        for record in records:
            answer = record.log_id, record.position
            assert self.acknowledged.setdefault(record.command, answer) == answer, "two answers"

    def _refuse(self, batch: Batch) -> None:
        self.refused += batch.commands
        batch.server.batch = batch.server.lost = None

    def check(self) -> None:
        """Each acknowledged command is in the log once, at its own position; positions have no holes."""
        assert len(set(self.acknowledged.values())) == len(self.acknowledged), "one place for two"
        if self.nodes.primary is None:
            return
        events = self.nodes.primary.events
        assert [event.position for event in events] == list(range(1, len(events) + 1)), "hole"
        commands = [event.command for event in events]
        assert len(set(commands)) == len(commands), "recorded twice"
        assert self.acknowledged.keys() <= set(commands), "lost"

    def settle(self) -> None:
        """Once each server has checked the log, a consumer has each event of the log of its id once."""
        if (primary := self.nodes.primary) is None:
            return
        for server in self.servers * 3:
            if server.node is not primary:
                self.cut(server)
            self.look(server)
        if sum(self.look(server) for server in self.servers) < len(self.servers):
            return  # the new id waits for a standby
        for consumer in self.consumers:
            if consumer.log_id == primary.now().log_id:
                there = primary.events[: len(consumer.events)]
                assert consumer.events == there, "consumer has another log"
