"""What a subscriber asks for, and the group of subscribers that ask for the same."""

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
    """What a subscriber wants, and in which encoding. `stream` is empty for the whole log."""

    encoder: Encoder
    stream: str
    filter: Filter

    @property
    def folded(self) -> bool:
        """Whether it takes the states before and after events."""
        return self.encoder.format.folded or self.filter.needs_states

    @property
    def whole(self) -> bool:
        """Whether it is about every event there is."""
        return not self.stream and self.filter.everything

    def chunks(self, entries: Sequence[Entry]) -> Iterable[Chunk]:
        """The frames of those entries that are wanted, and the cursors after them."""
        # There is one group for the whole log: caching its frames would cost more than it saves.
        frame = self.encoder.encode if self.whole else self._frame
        return join(self.encoder.wire, ((frame(each), each.position) for each in entries))

    def shared_chunks(self, entries: Sequence[Entry]) -> Iterable[Chunk]:
        """The same, for those who catch up: many of them read the same entries."""
        return self.encoder.chunks(entries) if self.whole else self.chunks(entries)

    def _frame(self, entry: Entry) -> bytes | None:
        wanted = self.filter.everything or self.filter.matches(entry)
        return self.encoder.frame(entry) if wanted else None


class KnownStream(NamedTuple):
    """How far a stream was when it was looked at, and whether its execution had ended."""

    position: int
    version: int
    final: bool

    @staticmethod
    def of(versioned: Versioned[Any] | None) -> KnownStream | None:
        """That of a state; None where there is none."""
        if versioned is None:
            return None
        return KnownStream(versioned.position, versioned.version, versioned.state.final)


@dataclass(slots=True, eq=False)
class TopicGroup(Generic[S]):
    """All subscribers of one topic: what they want is selected and encoded once for all of them."""

    topic: Topic
    members: int = 0
    live: set[S] = field(default_factory=set)
    """Those who have got everything that was published."""
    latest: int = 0
    """The position of the last event that was published for it."""
    logs: int = 0
    """How many times log lines were written to it."""
    _known: int = 0
    """Its execution is known up to this position to have ended, or to go on."""
    _ended: bool = False

    def chunks(self, entries: Sequence[Entry]) -> list[Chunk]:
        """What is published to those who are live."""
        return list(self.topic.chunks(entries))

    def learn(self, position: int, *, ended: bool) -> None:
        """Its execution has ended, or goes on, as of a position; older news changes nothing."""
        if position > self._known:
            self._known, self._ended = position, ended

    def note(self, entries: Sequence[Entry]) -> None:
        """Learn from its events, where it is about one execution."""
        for entry in entries if self.topic.stream else ():
            if entry.ends is not None:
                self.learn(entry.position, ended=entry.ends)

    def has_ended(self, cursor: int) -> bool:
        """Whether nothing will come after a cursor, because its execution has ended."""
        return self._ended and cursor >= self._known
