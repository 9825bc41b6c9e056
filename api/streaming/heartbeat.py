"""One timer for all subscribers: it sends heartbeats, moves idle cursors, and cuts clients that read too slowly."""

from __future__ import annotations

import asyncio
from itertools import count
from time import monotonic

import structlog

from api.streaming.cooperative import Cooperative
from api.streaming.phase import HubState
from api.streaming.subscriber import Subscriber

HEARTBEAT = 15
"""Seconds without a write after which a heartbeat is due; also the number of slots, one a second."""
UNREAD_TIMEOUT = 30.0
"""Seconds after which a subscriber whose transport takes nothing is cut."""

log = structlog.get_logger()


class Heartbeat:
    """Visits the subscribers of the next slot every `second` seconds.

    A write does not move a subscriber to another slot: that would make every event more expensive. When
    the heartbeat visits a subscriber that was written to meanwhile, it moves the subscriber to the slot in which
    the next heartbeat is due.
    """

    def __init__(self, shared: HubState) -> None:
        self.second = 1.0
        self.unread_timeout = UNREAD_TIMEOUT
        self._shared = shared
        self._numbers = count()
        self._slots: list[set[Subscriber]] = [set() for _ in range(HEARTBEAT)]

    def add(self, subscriber: Subscriber) -> None:
        """Visit a subscriber from now on."""
        self._put(subscriber, next(self._numbers))

    def remove(self, subscriber: Subscriber) -> None:
        """Stop visiting a subscriber."""
        self._slots[subscriber.slot].discard(subscriber)

    def _put(self, subscriber: Subscriber, slot: int) -> None:
        subscriber.slot = slot % HEARTBEAT
        self._slots[subscriber.slot].add(subscriber)

    async def run(self) -> None:
        """Visit one slot after the other, until cancelled."""
        shared = self._shared
        while True:
            await asyncio.sleep(self.second)
            shared.tick += 1
            shared.now = monotonic()
            cooperative = Cooperative()
            for subscriber in list(self._slots[shared.tick % HEARTBEAT]):
                self._visit_safely(subscriber)
                await cooperative.pause()

    def _visit_safely(self, subscriber: Subscriber) -> None:
        """End a subscriber whose visit fails, so that its client resumes; the others continue."""
        try:
            self._visit(subscriber)
        except Exception:
            log.exception("heartbeat failed", cursor=subscriber.cursor)
            subscriber.fail()

    def _visit(self, subscriber: Subscriber) -> None:
        if subscriber.done.done():
            return
        if subscriber.transport.paused:
            self._cut_if_unread(subscriber)
        elif subscriber.touched <= self._shared.tick - HEARTBEAT:
            self._beat(subscriber)
        else:
            self.remove(subscriber)
            self._put(subscriber, subscriber.touched)

    def _cut_if_unread(self, subscriber: Subscriber) -> None:
        since = subscriber.blocked_since
        if since is None:
            subscriber.blocked_since = self._shared.now
        elif self._shared.now - since >= self.unread_timeout:
            log.info("slow stream cut", cursor=subscriber.cursor)
            subscriber.cut()

    def _beat(self, subscriber: Subscriber) -> None:
        if subscriber.live:
            subscriber.cursor = max(subscriber.cursor, subscriber.published.swept)
        if subscriber.cursor > subscriber.sent:
            subscriber.tell("checkpoint")
        else:
            subscriber.transport.write(subscriber.topic.encoder.wire.heartbeat)
            subscriber.touched = self._shared.tick
