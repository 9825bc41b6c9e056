"""The hub: all subscribers to one log in this process, and the task that publishes the log's tail to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import structlog

from api.streaming.catch_up import catch_up
from api.streaming.close_codes import FAULT, RESTART
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
from api.streaming.subscriber import Subscriber, Transport
from api.streaming.topic import KnownStream, Topic
from api.telemetry.metrics import LOG_WENT_BACK, STREAMS
from domain.supervisor import cancel
from projections.other_log import OtherLog

CLOSING_TIMEOUT = 5.0
"""Seconds between the last frames and the cut, for clients that read slowly."""
OTHER_LOG = "other-log"

log = structlog.get_logger()


class ExternalStream(Protocol):
    """A stream that has its own writer (sse-starlette), but is counted and ended with the others."""

    kind: str

    def say_goodbye(self) -> None:
        """Ask the stream to end after its last frames."""
        ...

    def cut(self) -> None:
        """End the stream at once, though its client does not read."""
        ...


class Hub:
    """Connects subscribers, publishes to them what the tail reads, and ends them.

    Once the log is found to be another (`other`), all streams end, no subscriber is connected any more, and
    `on_other_log` is called.
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
        """The number of open streams."""
        return len(self._subscribers) + len(self._external_streams)

    @property
    def full(self) -> bool:
        """Whether no further stream may be opened: the limit is reached, or the hub is closing."""
        return self.state.closing or self.open >= self.limit

    @property
    def position(self) -> int:
        """The position of the last event that was published."""
        return self.raw.published.head

    def forget_content(self, _: Iterable[str] = ()) -> None:
        """Drop all cached plaintext, as data keys were destroyed. What is needed is read again."""
        self.raw.forget()
        self.folded.forget()
        for encoder in ENCODERS.values():
            encoder.forget()

    def start(self) -> None:
        """Start the tasks of the hub; they follow the log from its end."""
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
        """Begin to end every stream. May be called from a signal handler, at any time."""
        if self._loop is None:
            self.state.closing = True  # the hub has not started, and has no subscribers
        else:
            self._loop.call_soon_threadsafe(self._begin_to_close)

    async def stop(self) -> None:
        """End the remaining subscribers, and the tasks of the hub."""
        self.state.closing = True
        for subscriber in list(self._subscribers):
            subscriber.end(self.state.closing_code, self.state.closing_reason)
        await cancel(*self._tasks)
        await self.raw.pages.stop()
        await self.folded.pages.stop()

    async def head(self) -> int:
        """The position of the last event of the log, once everything up to it is published."""
        head = await self.loader.head()
        if head > self.position:
            if self._subscribers:
                self._tail.wake()
                await self.raw.wait_until(head)
            else:
                self._begin(head)
        return self.position

    async def wait_until_caught_up(self) -> None:
        """Wait until all events written so far are published, by the folded feed, too, if it is running."""
        head = await self.head()
        if self.folded.index:
            await self.folded.wait_until(head)

    def connect(
        self, transport: Transport, topic: Topic, cursor: int, known: KnownStream | None
    ) -> Subscriber:
        """Make a subscriber that begins after a cursor. `known` is the state of its topic's stream, if that was read.

        The caller has to `start` the subscriber, wait until it is `done`, and `disconnect` it.
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
        """Remove a subscriber from the hub."""
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
        """Count and end a stream that has its own writer with the others, until `unregister`."""
        self._external_streams.add(stream)
        self._count()
        if self.state.closing:
            stream.say_goodbye()

    def unregister(self, stream: ExternalStream) -> None:
        """Remove a stream that `register` has added."""
        self._external_streams.discard(stream)
        self._count()

    def external_streams(self, kind: str) -> int:
        """The number of registered streams of a kind."""
        return sum(stream.kind == kind for stream in self._external_streams)

    def _count(self) -> None:
        """Add the change to the metric: hubs of other logs in the process count in the same metric."""
        STREAMS.inc(self.open - self._counted)
        self._counted = self.open

    def _feed(self, topic: Topic) -> Feed:
        return self.folded if topic.folded else self.raw

    async def _follow(self) -> None:
        async for page in self._tail.pages(lambda: not self._subscribers):
            # Safe to repeat: entries that were published already are left out.
            await retry(partial(self._publish, page), "events cannot be published to streams")
            if page.other is not None:
                self._end_for_other_log(page.other)

    async def _publish(self, page: LogPage) -> None:
        if page.rows:
            await self.raw.publish(await self.loader.entries(page.rows))
        elif page.position > self.position and page.other is None:
            self._begin(page.position)

    def _begin(self, head: int) -> None:
        """Begin after a position, while there are no subscribers."""
        self._tail.skip(head)
        self.raw.begin(head)

    def _end_for_other_log(self, other: OtherLog) -> None:
        """End all streams, as the log is another than the one that their frames came from."""
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
            self.state.closing_code, self.state.closing_reason = code, reason
            self._tasks.append(asyncio.create_task(self._close(), name="streaming: goodbye"))

    async def _close(self) -> None:
        for stream in list(self._external_streams):
            stream.say_goodbye()
        cooperative = Cooperative()
        for subscriber in list(self._subscribers):
            if not (subscriber.transport.paused or subscriber.done.done()):
                subscriber.end(self.state.closing_code, self.state.closing_reason)
            await cooperative.pause()
        await asyncio.sleep(CLOSING_TIMEOUT)
        for subscriber in list(self._subscribers):
            subscriber.cut()
        for stream in list(self._external_streams):
            stream.cut()
