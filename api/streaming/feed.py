"""The two feeds of a log: the raw one, and one that wraps it and knows the states around events."""

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
PUBLISHED_AT_ONCE = 100
"""Entries that are published in one go."""
STRIDE = 64
"""Pages are read in runs that end at multiples of this, so that readers share the chunks."""

FAILED = "a page of a stream could not be read"

log = structlog.get_logger()


Observe = Callable[[Sequence[Entry]], Awaitable[None]]
"""Called with what is published, before the subscribers are."""


class Feed:
    """The events of the log in order, and those who subscribe to them.

    Live subscribers are written to right here, which wakes no task. One that cannot take what comes
    falls behind, and reads it `after` its cursor later.
    """

    def __init__(self, loader: Loader, shared: HubState) -> None:
        self.published = Published()
        self.index = Index()
        self.pages = PageCache(self._load)
        self._loader = loader
        self.shared = shared
        self._moved = asyncio.Event()

    def begin(self, head: int) -> None:
        """Without subscribers: what is published next is what follows this position."""
        self.pages.begin(head)
        self.published.head = self.published.swept = head
        self._moved.set()

    def forget(self) -> None:
        """Drop all that was read."""
        self.pages.forget()

    async def wait_for_more(self) -> None:
        """Until more is published."""
        self._moved.clear()
        await self._moved.wait()

    async def wait_until(self, position: int) -> None:
        """Until everything up to a position is published."""
        while self.published.head < position:
            await self.wait_for_more()

    def join(self, topic: Topic) -> Group:
        """The group of a topic, with one member more; `index.leave` takes it away again."""
        return self.index.join(topic)

    # --- live subscribers

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Hand out entries, little by little; those that were published before are left out."""
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
        # From here on nothing may fail: who is live would never get these entries.
        concerned = self.index.entries_by_group(entries)
        for group, its in concerned.items():
            group.latest = its[-1].position
            group.note(its)
        self._moved.set()
        await self._observe(entries)
        await self._sweep_all(concerned)
        self.published.swept = max(self.published.swept, entries[-1].position)

    async def _observe(self, entries: Sequence[Entry]) -> None:
        """Called before subscribers hear that their execution has ended here."""

    async def _sweep_all(self, concerned: Mapping[Group, Sequence[Entry]]) -> None:
        cooperative = Cooperative()
        for group, entries in concerned.items():
            try:
                await self._sweep(group, entries, cooperative)
            except Exception:
                log.exception("events cannot be published to a group", stream=group.topic.stream)
                for subscriber in list(group.live):
                    subscriber.return_to_catch_up()
            await cooperative.pause()

    async def _sweep(
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
        """Runs of the entries after a cursor, of the whole log or of the one stream.

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
        """From the rows of the stream; what is published meanwhile is seen by its group."""
        group, cursor, at_end = subscriber.group, subscriber.cursor, False
        stream, version = group.topic.stream, subscriber.version
        subscriber.version = None
        while not at_end or group.latest > cursor:
            subscriber.tell_fell_behind()
            if version is None:
                version = await retry(partial(self._loader.version_at, stream, cursor), FAILED)
            head = self.published.head
            page = await retry(partial(self._stream_page, stream, version), FAILED)
            # What is not published yet comes when it is.
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
    """Wraps the raw feed: the same entries, with the states before and after them.

    It runs only while it has subscribers. Then it is as far as the raw feed, or follows closely.
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
        """A member more; the first one wakes the feed."""
        if not self.index:
            self._folding.forget()  # its states are of when it last ran
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
    """Write what was published to those who are live and have not got it. Those whose transport is `paused`, with 64 KiB
    unsent, get nothing, and are no longer live.

    All deliveries go through this loop: what would be nicer as calls costs a tenth of each.
    """
    data, cursor = chunk
    live = Phase.LIVE
    for subscriber in subscribers:
        # One that arrived meanwhile, or fell behind, has read it or will read it by itself.
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
