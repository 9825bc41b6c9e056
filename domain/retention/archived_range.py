"""A range of positions whose events are in a file of the archive: what the log says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from domain.model import Aggregate, Context, Event, Recorded, State, Value, aggregate_id
from domain.recording import Recording


@dataclass(frozen=True)
class EventFile(State):
    """All events with positions in [first, last] in one file: the SHA-256 of its bytes, and the root of the Merkle tree
    (RFC 9162) of these events alone, both in hexadecimal. `file` is its path in the archive.
    """

    file: str
    first: int
    last: int
    bytes: int
    digest: str
    root: str


@dataclass(frozen=True)
class ArchivedRange(Aggregate):
    """The file of a range. The id is its first position."""

    file: EventFile | None = None


class _Written(Value):
    file: str
    first: int
    last: int
    bytes: int
    digest: str
    root: str

    @property
    def written(self) -> EventFile:
        """What is said of the file."""
        return EventFile(self.file, self.first, self.last, self.bytes, self.digest, self.root)


class EventsArchived(_Written, Event):
    """The events of a range are in a file. It stands for any former one of the same range."""

    type: ClassVar[str] = "events.archived"

    def apply(self, state: ArchivedRange | None, recorded: Recorded) -> ArchivedRange:
        return ArchivedRange(aggregate_id(recorded.stream), self.written)


class ArchiveEvents(_Written, Recording[ArchivedRange]):
    """Record that the events of a range are in a file. Clients cannot send it."""

    wire_name: ClassVar[str] = "archiveEvents"

    def decide(self, state: ArchivedRange | None, context: Context) -> Iterator[Event]:
        if state is None or state.file != self.written:
            yield EventsArchived(**vars(self.written))


EVENTS: tuple[type[Event], ...] = (EventsArchived,)
