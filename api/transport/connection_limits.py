"""Limits the connections of a server, and the memory and time that strangers may take.

A stranger is a connection that has not sent a valid token yet. Strangers cannot take the last descriptor: at the
limit, a new connection replaces one that waits for its next request, strangers first; where there is none, the new
connection gets 503 with `Retry-After`.
"""

from __future__ import annotations

import asyncio
import resource
import select
from collections import Counter
from typing import Protocol

from uvicorn.server import ServerState

from api.problems.problems import TooManyConnections
from api.settings import Settings
from api.telemetry.metrics import CONNECTIONS_CUT
from domain.errors import DomainError, Overloaded

HEAD_TIMEOUT = 10.0
"""Seconds for the head of a request, from the end of the answer before."""
BODY_TIMEOUT = 30.0
"""Seconds for the body of a request, and one more for each `SLOWEST_BODY` bytes."""
SLOWEST_BODY = 4 * 1024
"""Bytes a second: the slowest rate of a long body."""
UNREAD_TIMEOUT = 30.0
"""Seconds that a stranger may leave a part of an answer unread."""
HTTP_BYTES = 8 * 1024
"""Bytes that HTTP costs a connection, once it has begun; before, it is a tenth of that."""
MOST_HELD = 4 * 1024 * 1024
"""Bytes that strangers may keep here, all together: HTTP, heads that are incomplete, unread answers."""
BESIDE_STREAMS = 1_000
"""Connections that are allowed beside streams."""
SWEEP = 1.0
"""Seconds between two looks for connections that are too slow."""
TRIES = 3
"""Idle connections that are examined to find one that has sent nothing."""
FULL = "There are as many connections here as there can be; come back after the seconds in Retry-After."


class Peer(Protocol):
    """A connection, as the limits need it."""

    known: bool
    """Whether the connection has sent a valid token."""
    counted: bool
    """Whether the connection is counted in `open`."""
    paused: bool
    """Whether the client has not read a part of an answer yet."""
    host: str
    """The address of the client, where connections are limited by address."""
    transport: asyncio.Transport

    def too_slow(self) -> None:
        """Answer that the request was too slow, and close the connection."""


class ConnectionLimits:
    """The connections of one server, by the states in which they take resources while the server waits for them.

    idle: the connection waits for its next request, or for its close; receiving: the body is not complete yet;
    holding: a stranger that takes memory.
    """

    def __init__(self, most: int, per_address: int | None = None) -> None:
        self.most = most
        self.per_address = per_address
        self.open = 0
        self.held_bytes = 0
        self._addresses: Counter[str] = Counter()
        self._idle: dict[Peer, float] = {}
        self._idle_strangers: dict[Peer, float] = {}
        self._receiving: dict[Peer, tuple[float, int]] = {}
        self._holding: dict[Peer, tuple[float, int]] = {}
        self._sweeping = False

    def refusal(self, peer: Peer) -> DomainError | None:
        """Count a new connection, or return the refusal where there are too many."""
        if self.per_address is not None and self._addresses[peer.host] >= self.per_address:
            return TooManyConnections(
                f"There are {self.per_address} connections from this address already; close some."
            )
        if self.open >= self.most and not self._make_room():
            return Overloaded(FULL)
        self.open += 1
        self._addresses[peer.host] += 1
        peer.counted = True
        self._note_idle(peer)
        return None

    def replace(self, newcomer: Peer, peer: Peer) -> None:
        """Count the HTTP protocol of a connection instead of its `newcomer`, with the time that the newcomer had."""
        newcomer.counted, peer.counted = False, True
        peer.host = newcomer.host
        self._idle_strangers[peer] = self._idle_strangers.pop(newcomer)

    def wait(self, peer: Peer) -> None:
        """Start the time limit for the head of the next request."""
        self._note_idle(peer)
        if not peer.known:
            self.hold(peer, HTTP_BYTES)

    def begin(self, peer: Peer) -> None:
        """End the time limit of a head, which is complete."""
        if self._idle_strangers.pop(peer, None) is None:
            self._idle.pop(peer, None)
        if not peer.paused and peer in self._holding:
            self.release(peer)

    def receive(self, peer: Peer, size: int) -> None:
        """Note `size` more bytes of a body that is not complete yet."""
        since, before = self._receiving.get(peer, (_now(), 0))
        self._receiving[peer] = since, before + size

    def note_received(self, peer: Peer) -> None:
        """End the time limit of a body, which is complete or not needed any more."""
        self._receiving.pop(peer, None)

    def hold(self, peer: Peer, size: int) -> None:
        """Count `size` more bytes of memory of a stranger. Beyond the limit, the strangers that have held memory longest
        are cut.
        """
        since, before = self._holding.get(peer, (_now(), 0))
        self._holding[peer] = since, before + size
        self.held_bytes += size
        while self.held_bytes > MOST_HELD:
            self._cut(next(iter(self._holding)), "keeps too much")

    def release(self, peer: Peer) -> None:
        """It keeps nothing any more."""
        self.held_bytes -= self._holding.pop(peer, (0, 0))[1]

    def forget(self, peer: Peer) -> None:
        """Remove a closed connection. May be called more than once."""
        self.begin(peer)
        self.note_received(peer)
        self.release(peer)
        if peer.counted:
            peer.counted = False
            self.leave(peer.host)

    def leave(self, host: str) -> None:
        """Uncount a connection from a host."""
        self.open -= 1
        self._addresses[host] -= 1
        if not self._addresses[host]:
            del self._addresses[host]

    def _note_idle(self, peer: Peer) -> None:
        idle = self._idle if peer.known else self._idle_strangers
        idle[peer] = _now()
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(SWEEP, self._sweep)

    def _make_room(self) -> bool:
        """Cut an idle or unread connection, strangers first. Return whether there was one."""
        if self._evict(self._idle_strangers):
            return True
        if self._holding:
            self._cut(next(iter(self._holding)), "unread")
            return True
        return self._evict(self._idle)

    def _evict(self, idle: dict[Peer, float]) -> bool:
        """Cut the connection that has been idle longest, if possible one that has sent nothing. Return whether there was
        one.
        """
        for _ in range(min(TRIES, len(idle))):
            peer = next(iter(idle))
            if peer in self._holding or not _has_sent(peer.transport):
                break
            idle[peer] = idle.pop(peer)  # it has sent a request, which is read next
        if idle:
            self._cut(next(iter(idle)), "idle")
            return True
        return False

    def _cut(self, peer: Peer, reason: str) -> None:
        CONNECTIONS_CUT.labels(reason).inc()
        self.forget(peer)
        peer.transport.abort()

    def _sweep(self) -> None:
        now = _now()
        for peer in self._slow(now):
            CONNECTIONS_CUT.labels("too slow").inc()
            self.begin(peer)
            self.note_received(peer)
            peer.too_slow()
        for peer in [
            peer for peer, (since, _) in self._holding.items() if since + UNREAD_TIMEOUT < now
        ]:
            self._cut(peer, "unread")
        if self._idle or self._idle_strangers or self._receiving or self._holding:
            asyncio.get_running_loop().call_later(SWEEP, self._sweep)
        else:
            self._sweeping = False

    def _slow(self, now: float) -> list[Peer]:
        slow = [
            *_before(self._idle_strangers, now - HEAD_TIMEOUT),
            *_before(self._idle, now - HEAD_TIMEOUT),
        ]
        for peer, (since, size) in self._receiving.items():
            if since + BODY_TIMEOUT + size / SLOWEST_BODY < now:
                slow.append(peer)
        return slow


def _now() -> float:
    return asyncio.get_running_loop().time()


def _has_sent(transport: asyncio.Transport) -> bool:
    """Whether bytes of the client wait to be read."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _before(idle: dict[Peer, float], time: float) -> list[Peer]:
    """The connections that have been idle since `time` or longer; `idle` is in this order."""
    found = []
    for peer, since in idle.items():
        if since > time:
            break
        found.append(peer)
    return found


class LimitedState(ServerState):
    """The state that the protocols of uvicorn share, with the connection limits."""

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__()
        self.limits = limits


def backlog() -> int:
    """The number of connections that may wait in the kernel to be accepted."""
    return max(16, min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))


def limits_of_process(settings: Settings) -> ConnectionLimits:
    """The connection limits of a process, which reserve descriptors for the database, files and new connections."""
    reserve = backlog() + 64 + 3 * settings.database_connections
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = min(descriptors - reserve, settings.stream_limit + BESIDE_STREAMS)
    return ConnectionLimits(max(16, most), settings.connections_per_address)
