"""A range of positions whose events are archived, and the archive file that has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from domain.model import Aggregate, Context, Event, Recorded, State, Value, aggregate_id
from domain.recording import Recording


@dataclass(frozen=True)
class EventFile(State):
    """An archive file of all events with positions in [first, last].

    `file`: its path in the archive; `digest`: the SHA-256 of its bytes; `root`: the root of the Merkle tree (RFC 9162) over
    these events alone; both in hexadecimal.
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
        """The members as an `EventFile`."""
        return EventFile(self.file, self.first, self.last, self.bytes, self.digest, self.root)


class EventsArchived(_Written, Event):
    """The events of a range were archived in a file. The file replaces an earlier one of the same range."""

    type: ClassVar[str] = "events.archived"

    def apply(self, state: ArchivedRange | None, recorded: Recorded) -> ArchivedRange:
        return ArchivedRange(aggregate_id(recorded.stream), self.written)


class ArchiveEvents(_Written, Recording[ArchivedRange]):
    """Record that the events of a range are in an archive file. Only the server sends this."""

    wire_name: ClassVar[str] = "archiveEvents"

    def decide(self, state: ArchivedRange | None, context: Context) -> Iterator[Event]:
        if state is None or state.file != self.written:
            yield EventsArchived(**vars(self.written))


EVENTS: tuple[type[Event], ...] = (EventsArchived,)
