"""The hub: all subscribers of a process, and the tail that is published to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import structlog

from api.streaming.catch_up import catch_up
from api.streaming.cooperative import Cooperative
from api.streaming.encoding import ENCODERS
from api.streaming.feed import Feed, FoldedFeed
from api.streaming.heartbeat import Heartbeat
from api.streaming.log.folding import Folding
from api.streaming.log.loader import Loader
from api.streaming.log.retrying import retry
from api.streaming.log.tail import LogPage, LogTail
from api.streaming.log_lines import LineTail, LogLines
from api.streaming.phase import HubState
from api.streaming.subscriber import FAULT, RESTART, Subscriber, Transport
from api.streaming.topic import KnownStream, Topic
from api.telemetry.metrics import LOG_WENT_BACK, STREAMS
from domain.supervisor import cancel
from projections.other_log import OtherLog

CLOSING_TIMEOUT = 5.0
"""Seconds for those who do not read to hear that the server ends."""
OTHER_LOG = "other-log"

log = structlog.get_logger()


class ExternalStream(Protocol):
    """A stream that writes by itself, but is counted, and ends, with all others."""

    kind: str

    def say_goodbye(self) -> None:
        """Ask it to end."""
        ...

    def cut(self) -> None:
        """End it, though its client does not read."""
        ...


class Hub:
    """Publishes what the tail reads, connects subscribers, and says goodbye to them. Once the log is an `other`
    one, all end, none is connected any more, and `on_other_log` is called.
    """

    def __init__(
        self,
        tail: LogTail,
        loader: Loader,
        log_tail: LineTail,
        limit: int,
        of_log: str = "",
    ) -> None:
        self.loader = loader
        self.of_log = of_log
        self.other: OtherLog | None = None
        self.on_other_log: Callable[[], object] = lambda: None
        self.state = HubState({"log": of_log} if of_log else None)
        self.heartbeat = Heartbeat(self.state)
        folding = Folding(loader)
        self.logs = LogLines(log_tail, loader, folding, self.wait_until_caught_up)
        self.raw = Feed(loader, self.state)
        self.folded = FoldedFeed(self.raw, loader, self.state, folding, self.logs.note)
        self.limit = limit
        self._tail = tail
        self._subscribers: set[Subscriber] = set()
        self._external_streams: set[ExternalStream] = set()
        self._counted = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def open(self) -> int:
        """How many streams there are."""
        return len(self._subscribers) + len(self._external_streams)

    @property
    def full(self) -> bool:
        """Whether there is no room for another, or soon for any."""
        return self.state.closing or self.open >= self.limit

    @property
    def position(self) -> int:
        """The position of the last event that was published."""
        return self.raw.published.head

    def forget_content(self, _: Iterable[str] = ()) -> None:
        """Keep nothing of what was opened, as keys were destroyed: it is read again when it is wanted."""
        self.raw.forget()
        self.folded.forget()
        for encoder in ENCODERS.values():
            encoder.forget()

    def start(self) -> None:
        """Follow the log from its end, as it will be found."""
        runs = {
            "tail": self._follow(),
            "folding": self.folded.run(),
            "heartbeat": self.heartbeat.run(),
            "log lines": self.logs.run(),
        }
        for name, run in runs.items():
            self._tasks.append(asyncio.create_task(run, name=f"streaming: {name}"))
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Ask every stream to say goodbye. Safe in a signal handler, at any time."""
        if self._loop is None:
            self.state.closing = True  # it has not started, and has no subscribers
        else:
            self._loop.call_soon_threadsafe(self._begin_to_close)

    async def stop(self) -> None:
        """End the tail, and the subscribers that are left."""
        self.state.closing = True
        for subscriber in list(self._subscribers):
            subscriber.end(RESTART)
        await cancel(*self._tasks)
        await self.raw.pages.stop()
        await self.folded.pages.stop()

    async def head(self) -> int:
        """The position of the last event there is, all of it published."""
        head = await self.loader.head()
        if head > self.position:
            if self._subscribers:
                self._tail.wake()
                await self.raw.wait_until(head)
            else:
                self._begin(head)
        return self.position

    async def wait_until_caught_up(self) -> None:
        """Until what was written so far is published, in the folded feed, too, if it runs."""
        head = await self.head()
        if self.folded.index:
            await self.folded.wait_until(head)

    def connect(
        self, transport: Transport, topic: Topic, cursor: int, known: KnownStream | None
    ) -> Subscriber:
        """A subscriber that begins after a cursor. `known` is how far its stream is, if it has one.

        The caller has to `start` it, wait until it is `done`, and `disconnect` it.
        """
        feed = self._feed(topic)
        group = feed.join(topic)
        if topic.filter.logs:
            self.logs.add(group)
        subscriber = Subscriber(
            transport,
            group,
            cursor,
            published=feed.published,
            shared=self.state,
            catch_up=partial(catch_up, feed),
        )
        if known is not None:
            group.learn(known.position, ended=known.final)
            if cursor >= known.position:
                subscriber.version = known.version
        transport.subscriber = subscriber
        self._subscribers.add(subscriber)
        self.heartbeat.add(subscriber)
        self._count()
        if transport.gone:
            subscriber.note_lost()
        return subscriber

    def disconnect(self, subscriber: Subscriber) -> None:
        """Forget it."""
        subscriber.note_lost()
        subscriber.transport.subscriber = None
        self._subscribers.discard(subscriber)
        self.heartbeat.remove(subscriber)
        group = subscriber.group
        self._feed(group.topic).index.leave(group)
        if group.members == 0 and group.topic.filter.logs:
            self.logs.remove(group)
        self._count()

    def register(self, stream: ExternalStream) -> None:
        """Count a stream that writes by itself, until `unregister`."""
        self._external_streams.add(stream)
        self._count()
        if self.state.closing:
            stream.say_goodbye()

    def unregister(self, stream: ExternalStream) -> None:
        """Forget it."""
        self._external_streams.discard(stream)
        self._count()

    def external_streams(self, kind: str) -> int:
        """How many of one kind there are."""
        return sum(stream.kind == kind for stream in self._external_streams)

    def _count(self) -> None:
        """Other logs of the process may have streams, too: all of them are counted."""
        STREAMS.inc(self.open - self._counted)
        self._counted = self.open

    def _feed(self, topic: Topic) -> Feed:
        return self.folded if topic.folded else self.raw

    async def _follow(self) -> None:
        async for page in self._tail.pages(lambda: not self._subscribers):
            # Safe to repeat: what was published already is left out.
            await retry(partial(self._publish, page), "what was written cannot be published")
            if page.other is not None:
                self._leave(page.other)

    async def _publish(self, page: LogPage) -> None:
        if page.rows:
            await self.raw.publish(await self.loader.entries(page.rows))
        elif page.position > self.position and page.other is None:
            self._begin(page.position)

    def _begin(self, head: int) -> None:
        """Without subscribers: what comes next is what follows this position."""
        self._tail.skip(head)
        self.raw.begin(head)

    def _leave(self, other: OtherLog) -> None:
        """What was sent is not of this log: nobody may go on with it."""
        self.other = other
        if other.seen is None:
            log.warning("the log has another id", log=other.log_id, before=self.of_log)
        else:
            LOG_WENT_BACK.inc()
            log.error(
                "the log went back: events that were recorded are not in it any more",
                seen=other.seen,
                position=other.position,
                log=other.log_id,
                before=self.of_log,
            )
        self._begin_to_close(FAULT, OTHER_LOG)
        self.on_other_log()

    def _begin_to_close(self, code: int = RESTART, reason: str = "") -> None:
        if not self.state.closing:
            self.state.closing = True
            closing = self._close(code, reason)
            self._tasks.append(asyncio.create_task(closing, name="streaming: goodbye"))

    async def _close(self, code: int, reason: str) -> None:
        for stream in list(self._external_streams):
            stream.say_goodbye()
        cooperative = Cooperative()
        for subscriber in list(self._subscribers):
            if not (subscriber.transport.paused or subscriber.done.done()):
                subscriber.end(code, reason)
            await cooperative.pause()
        await asyncio.sleep(CLOSING_TIMEOUT)
        for subscriber in list(self._subscribers):
            subscriber.cut()
        for stream in list(self._external_streams):
            stream.cut()
