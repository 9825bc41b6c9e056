"""Topics, and the groups of subscribers that share one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from api.streaming.encoding import Encoder, join
from api.streaming.filter import Filter
from api.streaming.log.entry import Chunk, Entry
from domain.model import Versioned

S = TypeVar("S")


class Topic(NamedTuple):
    """The stream and filter that a subscriber asks for, and the encoding. `stream` is empty for the whole log."""

    encoder: Encoder
    stream: str
    filter: Filter

    @property
    def folded(self) -> bool:
        """Whether the topic needs the states before and after events."""
        return self.encoder.format.folded or self.filter.needs_states

    @property
    def whole(self) -> bool:
        """Whether the topic has every event of the log."""
        return not self.stream and self.filter.everything

    def chunks(self, entries: Sequence[Entry]) -> Iterable[Chunk]:
        """The frames of the entries that match the filter, and the cursors after them."""
        # There is one group for the whole log: caching its frames would cost more than it saves.
        frame = self.encoder.encode if self.whole else self._frame
        return join(self.encoder.wire, ((frame(each), each.position) for each in entries))

    def shared_chunks(self, entries: Sequence[Entry]) -> Iterable[Chunk]:
        """The chunks of entries for subscribers that catch up: cached for the whole log, as many read the same entries."""
        return self.encoder.chunks(entries) if self.whole else self.chunks(entries)

    def _frame(self, entry: Entry) -> bytes | None:
        wanted = self.filter.everything or self.filter.matches(entry)
        return self.encoder.frame(entry) if wanted else None


class KnownStream(NamedTuple):
    """The position and version of a stream when it was read, and whether its execution had ended."""

    position: int
    version: int
    final: bool

    @staticmethod
    def of(versioned: Versioned[Any] | None) -> KnownStream | None:
        """The position, version and status of a loaded state; None where there is no state."""
        if versioned is None:
            return None
        return KnownStream(versioned.position, versioned.version, versioned.state.final)


@dataclass(slots=True, eq=False)
class TopicGroup(Generic[S]):
    """All subscribers of one topic: events are filtered and encoded once for all of them."""

    topic: Topic
    members: int = 0
    live: set[S] = field(default_factory=set)
    """The members that have received everything that was published."""
    latest: int = 0
    """The position of the last event that was published to the group."""
    logs: int = 0
    """The number of writes of log lines to the group so far."""
    _known_at: int = 0
    """The position as of which `_ended` is known."""
    _ended: bool = False
    """Whether the execution of the topic had ended."""

    def chunks(self, entries: Sequence[Entry]) -> list[Chunk]:
        """The chunks that are published to live members."""
        return list(self.topic.chunks(entries))

    def learn(self, position: int, *, ended: bool) -> None:
        """Note whether the execution has ended as of a position; a position before the last noted one changes nothing."""
        if position > self._known_at:
            self._known_at, self._ended = position, ended

    def note(self, entries: Sequence[Entry]) -> None:
        """Note from events whether the execution has ended, where the topic is about one execution."""
        for entry in entries if self.topic.stream else ():
            if entry.ends is not None:
                self.learn(entry.position, ended=entry.ends)

    def has_ended(self, cursor: int) -> bool:
        """Whether nothing follows a cursor, because the execution has ended."""
        return self._ended and cursor >= self._known_at
