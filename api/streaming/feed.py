"""The two feeds of a log: the raw feed of events, and the folded feed, which adds the states around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog

from api.streaming.cooperative import Cooperative
from api.streaming.index import Group, Index
from api.streaming.log.entry import Chunk, Entry
from api.streaming.log.folding import Folding
from api.streaming.log.loader import Loader, StreamPage
from api.streaming.log.page_cache import SIZE, PageCache, slot
from api.streaming.log.retrying import retry
from api.streaming.phase import HubState, Phase, Published
from api.streaming.subscriber import Subscriber
from api.streaming.topic import Topic

WRITES_PER_PAUSE = 100
"""Subscribers that are written to between two pauses for other tasks."""
PUBLISHED_AT_ONCE = 100
"""Entries that are published together."""
STRIDE = 64
"""Subscribers that catch up read runs of entries that end at multiples of this position, so that they share
encoded chunks.
"""

FAILED = "a page of a stream could not be read"

log = structlog.get_logger()


Observe = Callable[[Sequence[Entry]], Awaitable[None]]
"""A callback that gets the published entries before the subscribers do."""


class Feed:
    """The events of the log in order, and those who subscribe to them.

    Live subscribers are written to in the task that publishes, which wakes no other task. A subscriber whose
    transport takes no more falls behind, and reads the entries `after` its cursor later.
    """

    def __init__(self, loader: Loader, shared: HubState) -> None:
        self.published = Published()
        self.index = Index()
        self.pages = PageCache(self._load)
        self._loader = loader
        self.shared = shared
        self._published_more = asyncio.Event()

    def begin(self, head: int) -> None:
        """Begin after a position, while there are no subscribers: the next entry to be published follows it."""
        self.pages.begin(head)
        self.published.head = self.published.swept = head
        self._published_more.set()

    def forget(self) -> None:
        """Drop the cached entries."""
        self.pages.forget()

    async def wait_for_more(self) -> None:
        """Wait until more is published."""
        self._published_more.clear()
        await self._published_more.wait()

    async def wait_until(self, position: int) -> None:
        """Wait until everything up to a position is published."""
        while self.published.head < position:
            await self.wait_for_more()

    def join(self, topic: Topic) -> Group:
        """Add a member to the group of a topic, and return the group; `index.leave` removes the member."""
        return self.index.join(topic)

    # --- live subscribers

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Publish entries in small parts; entries that were published before are left out."""
        for start in range(0, len(entries), PUBLISHED_AT_ONCE):
            head = self.published.head
            new = [
                each for each in entries[start : start + PUBLISHED_AT_ONCE] if each.position > head
            ]
            if new:
                await self._publish(new)

    async def _publish(self, entries: Sequence[Entry]) -> None:
        if self._loader.destroy_erased(entries):
            self.forget()
        self.pages.append(entries)
        self.published.head = entries[-1].position
        # From here on nothing may fail: live subscribers would never receive these entries.
        by_group = self.index.entries_by_group(entries)
        for group, selected in by_group.items():
            group.latest = selected[-1].position
            group.note(selected)
        self._published_more.set()
        await self._observe(entries)
        await self._write_to_groups(by_group)
        self.published.swept = max(self.published.swept, entries[-1].position)

    async def _observe(self, entries: Sequence[Entry]) -> None:
        """Called before subscribers are notified that their execution has ended."""

    async def _write_to_groups(self, by_group: Mapping[Group, Sequence[Entry]]) -> None:
        cooperative = Cooperative()
        for group, entries in by_group.items():
            try:
                await self._write_to_group(group, entries, cooperative)
            except Exception:
                log.exception("events cannot be published to a group", stream=group.topic.stream)
                for subscriber in list(group.live):
                    subscriber.return_to_catch_up()
            await cooperative.pause()

    async def _write_to_group(
        self, group: Group, entries: Sequence[Entry], cooperative: Cooperative
    ) -> None:
        live = list(group.live)
        for chunk in group.chunks(entries) if live else ():
            for start in range(0, len(live) if chunk.data else 0, WRITES_PER_PAUSE):
                _push(live[start : start + WRITES_PER_PAUSE], chunk, self.shared.tick)
                await cooperative.pause()
        if group.topic.stream:
            for subscriber in group.live.intersection(live):
                subscriber.cursor = max(subscriber.cursor, entries[-1].position)
                subscriber.conclude()

    # --- subscribers that are behind

    def after(self, subscriber: Subscriber) -> AsyncGenerator[Sequence[Entry], None]:
        """Runs of the entries after a subscriber's cursor, of the whole log or of its topic's stream.

        Ends when everything that was published has been handed out.
        """
        return (
            self._stream_after(subscriber)
            if subscriber.topic.stream
            else self._log_after(subscriber)
        )

    async def _log_after(self, subscriber: Subscriber) -> AsyncGenerator[Sequence[Entry], None]:
        cursor = subscriber.cursor
        while cursor < self.published.head:
            page = self.pages.get(cursor + 1)
            if page is None:
                subscriber.tell_fell_behind()
                await self.pages.request(cursor + 1)
                continue
            if cursor + 1 == page.first and page.last < self.published.head:
                self.pages.prefetch(page.last + 1)
            until = page.last
            if subscriber.topic.whole:
                until = min(until, (cursor // STRIDE + 1) * STRIDE)
            yield page.between(cursor, until)
            cursor = until

    async def _stream_after(self, subscriber: Subscriber) -> AsyncGenerator[Sequence[Entry], None]:
        """Read the rows of the stream; `group.latest` shows whether more was published meanwhile."""
        group, cursor, at_end = subscriber.group, subscriber.cursor, False
        stream, version = group.topic.stream, subscriber.version
        subscriber.version = None
        while not at_end or group.latest > cursor:
            subscriber.tell_fell_behind()
            if version is None:
                version = await retry(partial(self._loader.version_at, stream, cursor), FAILED)
            head = self.published.head
            page = await retry(partial(self._stream_page, stream, version), FAILED)
            # Rows that are not published yet are left out: they follow when they are.
            until = self.published.head
            entries = [entry for entry in page.entries if cursor < entry.position <= until]
            if entries:
                group.note(entries)
                yield entries
                cursor, version = entries[-1].position, entries[-1].row.version
            at_end = not page.more or len(entries) < len(page.entries)
            if at_end:
                cursor = max(cursor, head)

    async def _load(self, after: int, until: int) -> list[Entry]:
        return await self._loader.between(after, until)

    async def _stream_page(self, stream: str, version: int) -> StreamPage:
        return await self._loader.stream_page(stream, version)


class FoldedFeed(Feed):
    """The entries of the raw feed, with the states before and after each event.

    It follows the raw feed only while it has subscribers.
    """

    def __init__(
        self, raw: Feed, loader: Loader, shared: HubState, folding: Folding, observe: Observe
    ) -> None:
        super().__init__(loader, shared)
        self._raw = raw
        self._folding = folding
        self._observe_folded = observe
        self._past = Folding(loader)

    def join(self, topic: Topic) -> Group:
        """Add a member to the group of a topic, and return the group; the first member starts the feed."""
        if not self.index:
            self._folding.forget()  # its states are those of when the feed was last running
            self.begin(self._raw.published.head)
        return super().join(topic)

    def forget(self) -> None:
        super().forget()
        self._folding.forget()
        self._past.forget()

    async def run(self) -> None:
        """Follow the raw feed, until cancelled."""
        while True:
            if self.index and self.published.head < self._raw.published.head:
                await retry(self._advance, "events cannot be folded")
            else:
                await self._raw.wait_for_more()

    async def _advance(self) -> None:
        after = self.published.head
        until = min(self._raw.published.head, (slot(after + 1) + 1) * SIZE)
        entries = await self._raw.pages.read(after, until)
        await self.publish(await self._folding.fold(entries))

    async def _observe(self, entries: Sequence[Entry]) -> None:
        await self._observe_folded(entries)

    async def _load(self, after: int, until: int) -> list[Entry]:
        return await self._past.fold(await self._raw.pages.read(after, until))

    async def _stream_page(self, stream: str, version: int) -> StreamPage:
        page = await super()._stream_page(stream, version)
        return page._replace(entries=await self._past.fold(page.entries))


def _push(subscribers: Iterable[Subscriber], chunk: Chunk, tick: int) -> None:
    """Write a published chunk to the live subscribers that have not received it. A subscriber whose transport is
    `paused`, with 64 KiB unsent, gets nothing and is no longer live.

    All live deliveries go through this loop: calling methods of the subscriber instead makes each a tenth more
    expensive.
    """
    data, cursor = chunk
    live = Phase.LIVE
    for subscriber in subscribers:
        # A subscriber that became live or fell behind meanwhile has read the chunk, or reads it while catching up.
        if subscriber.phase is not live or subscriber.cursor >= cursor:
            continue
        try:
            transport = subscriber.transport
            if transport.paused:
                subscriber.block()
                continue
            transport.write_raw(data)
        except Exception:
            log.exception("a stream cannot be written to", cursor=subscriber.cursor)
            subscriber.fail()
        else:
            subscriber.cursor = subscriber.sent = cursor
            subscriber.touched = tick
