"""Sends a subscriber every event after its cursor, until it is live."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from api.streaming.feed import Feed
from api.streaming.log.entry import Entry
from api.streaming.subscriber import Subscriber


async def catch_up(feed: Feed, subscriber: Subscriber) -> None:
    """Write to a subscriber all that the feed has published after the cursor, then make the subscriber live."""
    await feed.wait_until(subscriber.cursor)
    await subscriber.writable()
    async with aclosing(feed.after(subscriber)) as runs:
        async for entries in runs:
            await _deliver(subscriber, entries)
            if feed.shared.closing:
                break
        # Nothing is awaited between the last check of `feed.after` and `arrive`: no event is published in between.
        if feed.shared.closing:
            subscriber.end(feed.shared.closing_code, feed.shared.closing_reason)
        else:
            subscriber.arrive()


async def _deliver(subscriber: Subscriber, entries: Sequence[Entry]) -> None:
    topic, replay = subscriber.topic, subscriber.replay
    while entries:
        due = len(entries) if replay is None else await replay.due(entries, topic.filter.matches)
        for chunk in topic.shared_chunks(entries[:due]):
            subscriber.deliver(chunk)
            await subscriber.writable()
        entries = entries[due:]
