"""Connections that want the same bytes: what they want is chosen and joined once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from api.streams.entries import Chunk, Entry
from api.streams.filters import Filter
from api.streams.forms import Form

if TYPE_CHECKING:
    from api.streams.connection import Connection

LARGEST_WRITE = 64 * 1024


class Topic(NamedTuple):
    """What a connection is about. `stream` is empty for the whole log."""

    form: Form
    stream: str
    filter: Filter


class Group:
    """All connections of one topic. Those in `live` have been handed all that was published."""

    __slots__ = ("latest", "live", "logs", "members", "told", "topic")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.told = topic.form.words.told or topic.filter.told
        self.members = 0
        self.live: set[Connection] = set()
        self.latest = 0
        """Position of the last event that was published for it."""
        self.logs = 0
        """How many writes of log lines were made for it."""

    def fall(self) -> None:
        """Let all its connections fetch for themselves."""
        for connection in list(self.live):
            connection.fall()
            connection.schedule()

    def chunks(self, entries: Sequence[Entry]) -> list[Chunk]:
        """The frames of those entries that it wants."""
        return list(joined(self.topic, entries))


def joined(topic: Topic, entries: Sequence[Entry]) -> Iterator[Chunk]:
    """The frames of the entries a topic wants, in as few writes as `LARGEST_WRITE` allows.

    The last chunk may hold nothing but the cursor after the last entry.
    """
    form, filter_ = topic.form, topic.filter
    parts: list[bytes] = []
    size, at = 0, 0
    for entry in entries:
        at = entry.position
        if filter_.everything or filter_.matches(entry):
            frame = form.frame(entry)
            parts.append(frame)
            size += len(frame)
            if size >= LARGEST_WRITE:
                yield Chunk(form.wire.packed(parts), at)
                parts, size, at = [], 0, 0
    if at:
        yield Chunk(form.wire.packed(parts), at)
